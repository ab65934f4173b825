#!/usr/bin/python3
"""Every figure of speed and memory that has a goal, ours and the peers' side by side. tests/bench/run calls it; see there.

Ours: one run of the programs over one stream; its speed is that between the first third or half of its questions and the last, so
that starting up does not count. Peers: a process each (peer.py), stopped while another is timed. Round by round each has its turn,
and a ratio is one of a round.
"""
import json
import math
import os
import select
import signal
import statistics
import subprocess
import sys
import time

import phases
import programs
import workload
from programs import Failed, say

DIR = 'build/bench'
ROUNDS = int(os.environ.get('BENCH_ROUNDS', 3))
COMPILE = float(os.environ.get('BENCH_COMPILE', 150))   # seconds that a compiler may take
PEER_SECONDS = 6                                        # at least, a round
CORES = len(os.sched_getaffinity(0))

SIZES = {
    'full': dict(shape='-L 9,5,5 -H 768 -n 12 -F 3072', features=2048, answers=3129, gemm=(768, 3072, 9)),
    'small': dict(shape='-L 1,2,1 -H 128 -n 4 -F 256', features=360, answers=13, gemm=(128, 256, 2)),   # pipelines/train's
}
KINDS = {'softmax': (), 'entmax': ('-s',), 'adaptive': ('-a',)}

# runtime of peer.py, what it is called
OPENVINO, ORT = ('openvino', 'OpenVINO'), ('onnxruntime', 'ONNX Runtime')
EAGER, WEIGHTS, COMPILED = ('eager', 'PyTorch'), ('weights', 'PyTorch, weights in bf16'), ('compiled', 'PyTorch, compiled')


# --- Files that rows share, made at first use.

def made(name, make):
    path = '%s/%s' % (DIR, name)
    if not os.path.exists(path):
        make(path + '.new')
        os.rename(path + '.new', path)
    return path


def checkpoint(size, kind):
    def make(path):
        answers = path + '.json'
        with open(answers, 'w') as out:
            json.dump([str(i) for i in range(SIZES[size]['answers'])], out)
        subprocess.run(['ckpt-init', *SIZES[size]['shape'].split(), *KINDS[kind], '-f', str(SIZES[size]['features']), '-r', '1',
                        '-A', answers, path], check=True)
        os.unlink(answers)
    return made('%s.%s.safetensors' % (size, kind), make)


def stream(size, questions):
    return made('%s.%d.stream' % (size, questions),
                lambda path: workload.write(path, questions, SIZES[size]['features'], SIZES[size]['answers']))


def limit(size, precision, known={}):
    """GFLOP/s of oneDNN alone at the layers of a size."""
    if size not in known:
        lines = subprocess.run([DIR + '/gemm', *map(str, SIZES[size]['gemm']), '307', '1152'], check=True, stdout=subprocess.PIPE,
                               text=True).stdout.splitlines()
        known[size] = [line.split('\t') for line in lines]
    return max(float(speed) for name, _, speed in known[size] if name == precision)


def macs(size, kind, work, tokens, per_image):
    """Of a question, by flopreport. A gradient costs two products for each of the model's, but nothing asks for that of features."""
    report = subprocess.run(['flopreport', '-t', '%.2f' % tokens, '-i', '%.3f' % per_image, checkpoint(size, kind)], check=True,
                            stdout=subprocess.PIPE, text=True).stdout.splitlines()
    names = report[0].split('\t')
    parts = {line.split('\t')[0]: dict(zip(names, line.split('\t'))) for line in report[1:]}
    part = lambda row, name: float(parts[row][name])
    if work == 'answer':
        return part('total', 'macs_answering') + part('total', 'attention_answering')
    return 3 * (part('total', 'macs_here') + part('total', 'attention_here')) - part('regions', 'macs_here')


# --- Both sides.

# TFLOP/s of a card without sparsity, by NVIDIA's data sheets: A100 (2020), H100 SXM (2023), H200 (2024).
CARDS = {'A100': {'f32': 19.5, 'tf32': 156, 'bf16': 312}, 'H100': {'f32': 67, 'tf32': 494, 'bf16': 989}, 'H200': {'f32': 67, 'tf32': 494, 'bf16': 989}}


def card():
    """The name of the first one."""
    found = subprocess.run(['nvidia-smi', '--query-gpu=name,driver_version', '--format=csv,noheader'], check=True, stdout=subprocess.PIPE, text=True)
    return found.stdout.split('\n')[0]


def card_limit(precision):
    """GFLOP/s; None of a card that is not among CARDS."""
    return next((1e3 * speeds[precision] for name, speeds in CARDS.items() if name in card()), None)


class Ours:
    """Speed over the last `timed` batches of a run, after `skip`."""

    def __init__(self, size, kind, precision, work, batch, skip, timed):
        self.size, self.kind, self.precision, self.work, self.batch, self.skip, self.timed = size, kind, precision, work, batch, skip, timed
        self.name = 'vqa, %s' % kind
        self.stream = stream(size, batch * (skip + timed))
        make = programs.answering if work == 'answer' else programs.training
        self.commands = make(checkpoint(size, kind), batch, precision)
        self.marks = batch * skip, batch * (skip + timed)

    def counter(self):
        return programs.answer_counter() if self.work == 'answer' else programs.step_counter(self.batch)

    def watch(self, commands=None, **how):
        return programs.watch(commands or self.commands, self.stream, self.counter(), self.marks, **how)

    def rate(self):
        begin, end = self.watch()
        return self.batch * self.timed / (end - begin)

    def macs(self):
        """Of a question of the timed part."""
        tokens, images = workload.shape(self.stream, self.batch, self.skip, self.timed)
        return macs(self.size, self.kind, self.work, tokens, self.batch / images)

    def close(self):
        pass


class Peer:
    """A process of peer.py."""
    gave_up = {}   # attention, work, precision of what did not compile in time; the same at another batch would not either

    def __init__(self, runtime, ours, count):
        self.name, words = runtime[1], (runtime[0], ours.precision, ours.work, str(ours.batch))
        key = runtime[0], ours.kind, ours.work, ours.precision
        if key in Peer.gave_up:
            raise Failed('skipped: ' + Peer.gave_up[key])
        if runtime == COMPILED and not os.path.exists(os.environ['BENCH_INCLUDE'] + '/Python.h'):
            raise Failed('skipped: torch.compile needs Python.h')
        seen = made('%s.%s.%s.%s.ours' % (ours.size, ours.kind, ours.precision, ours.work), lambda path: self.show(ours, path))
        self.log = '%s/%s.%s.log' % (DIR, '.'.join(words), ours.kind)
        with open(self.log, 'w') as log:
            self.process = subprocess.Popen(
                [os.environ['BENCH_PYTHON'], 'tests/bench/peer.py', *words, checkpoint(ours.size, ours.kind), ours.stream,
                 str(max(0, ours.skip + ours.timed - count)), str(count), seen],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, start_new_session=True,
                env=dict(os.environ, PYTHONPATH=DIR + '/peer', TORCHINDUCTOR_CACHE_DIR=os.path.abspath(DIR + '/inductor')))
        started = time.monotonic()
        if not select.select([self.process.stdout], [], [], COMPILE)[0]:
            self.close()
            Peer.gave_up[key] = 'not ready after %.0f s (BENCH_COMPILE)' % COMPILE
            raise Failed(Peer.gave_up[key])
        line = self.process.stdout.readline().decode().split(None, 1)
        if not line:
            self.close()
            with open(self.log) as log:
                raise Failed('; '.join(log.read().splitlines()[-1:]) or 'ended without a word')
        say('  %s: ready after %.0f s; %s' % (self.name, time.monotonic() - started, line[1].strip()))
        self.signal(signal.SIGSTOP)

    @staticmethod
    def show(ours, path):
        """What our programs make of a few questions: logits, or the table of steps without dropout at a rate that shows."""
        if ours.work == 'answer':
            programs.save(programs.answering(checkpoint(ours.size, ours.kind), 32, ours.precision, '-l'), stream(ours.size, 96), path)
        else:
            programs.save(programs.training(checkpoint(ours.size, ours.kind), 32, ours.precision, ['--dropout', '0'],
                                            ['--lr', '1e-3', '--max-lr', '1e-3']), stream(ours.size, 96), path)

    def signal(self, number):
        os.killpg(self.process.pid, number)

    def rate(self):
        self.signal(signal.SIGCONT)
        self.process.stdin.write(b'%d\n' % PEER_SECONDS)
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise Failed('ended; see ' + self.log)
        self.signal(signal.SIGSTOP)
        return float(line)

    def close(self):
        try:
            self.signal(signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()


# --- The tables.

HEADER = 'row size attention precision work batch unit vqa peer theirs ratio lowest highest goal met'.split()
roofline = []


def number(x):
    return '-' if x is None else '%.3g' % x if abs(x) < 100 else '%.0f' % x


def line(row, ours, unit, vqa=None, peer='-', theirs=None, ratios=(), spread=(), goal=None, met=None):
    """goal is words; ratios, or the spread of vqa where there is no peer."""
    shown = list(ratios or spread)
    cells = [row, ours.size, ours.kind, ours.precision, ours.work, ours.batch, unit, number(vqa), peer, number(theirs),
             '%.2f' % statistics.median(ratios) if ratios else '-', *(number(f(shown)) if shown else '-' for f in (min, max)),
             goal or '-', '-' if met is None else 'yes' if met else 'no']
    print(*cells, sep='\t', flush=True)


def skipped(row, ours, unit, peer, goal=None, why=''):
    say('  %s: %s' % (peer, why))
    line(row, ours, unit, peer=peer, goal=goal)


def disturbed(begin, end, cpu, own):
    """Says when other processes took over 5 % of the time."""
    share = (cpu - own) / ((end - begin) * CORES)
    if share > 0.05:
        say('  other processes took %.0f %% of the cores meanwhile' % (100 * share))


def compare(row, ours, runtimes, goals=(), others=(), count=None):
    """Rounds of ours, its peers, and others of ours; goals: (beginning of the peers' names, ratio), which the best of them has."""
    sides, goals = [ours], dict(goals)
    for runtime in runtimes if os.environ['BENCH_PEER'] == '1' else ():
        try:
            sides.append(Peer(runtime, ours, count or min(ours.timed, 5)))
        except Failed as why:
            skipped(row, ours, 'questions/s', runtime[1], why=why)
    sides += others
    rates = {side: [] for side in sides}
    try:
        for _ in range(ROUNDS):
            for side in list(rates):
                try:
                    rates[side].append(side.rate())
                except Failed as why:
                    say('  %s: %s' % (side.name, why))
                    del rates[side]
                    if side is ours:
                        return skipped(row, ours, 'questions/s', '-', why=why)
            say('  ' + '; '.join('%s %.2f' % (side.name, r[-1]) for side, r in rates.items()))
    finally:
        for side in sides:
            side.close()
    median = statistics.median(rates[ours])
    best = {}   # of each goal's peers
    for name in goals:
        best[name] = max((s for s in rates if s is not ours and s.name.startswith(name)), key=lambda s: statistics.median(rates[s]),
                         default=None)
    roofline.append((row, ours, ours.macs(), 1 / median))
    for side in list(rates)[1:]:
        ratios = [a / b for a, b in zip(rates[ours], rates[side])]
        goal = next((g for name, g in goals.items() if best[name] is side), None)
        line(row, ours, 'questions/s', median, side.name, statistics.median(rates[side]), ratios, goal=goal and '>= %g' % goal,
             met=goal and statistics.median(ratios) >= goal)
    for name in (n for n, side in best.items() if side is None):
        line(row, ours, 'questions/s', median, name, goal='>= %g' % goals[name])
    if len(rates) == 1 and not goals:
        line(row, ours, 'questions/s', median, spread=rates[ours])


def at_most(row, ours, unit, values, goal):
    """A figure of our own that has a bound."""
    line(row, ours, unit, statistics.median(values), spread=values, goal='<= %g' % goal, met=statistics.median(values) <= goal)


# --- Rows.

def answers(kind, precision, runtimes, goals, against=None):
    def go(row):
        ours = Ours('full', kind, precision, 'answer', 32, 4, 6 if precision == 'f32' else 10)
        others = [Ours('full', against, precision, 'answer', 32, ours.skip, ours.timed)] if against else []
        compare(row, ours, runtimes, goals, others)
    return go


def trains(kind, precision, batch, runtimes, goal):
    def go(row):
        steps = 5 if batch == 32 else 2
        compare(row, Ours('full', kind, precision, 'train', batch, 5 if batch == 32 else 2, steps), runtimes, [('PyTorch', goal)], count=steps)
    return go


def small(kind, precision, work, runtimes):
    def go(row):
        compare(row, Ours('small', kind, precision, work, 32, 50, 150 if work == 'answer' else 60), runtimes)
    return go


def on_card(kind, precision, work, batch):
    """Peers on the same card where PyTorch can use it."""
    def go(row):
        batches = 60 if batch == 32 else 20 if batch == 128 else 8
        compare(row, Ours('full', kind, precision, work, batch, batches // 2, batches), [EAGER, COMPILED], count=4)
    return go


def memory(precision, goal):
    def go(row):
        ours = Ours('full', 'softmax', precision, 'answer', 32, 4, 6)
        seen = []
        ours.watch(sample=lambda pids: seen.append(programs.status(pids[0])))
        peaks = [max(s.get(name, 0) for s in seen) for name in ('VmHWM', 'RssAnon')]
        at_most(row, ours, 'GB at most', peaks[:1], goal)
        line(row, ours, 'GB at most, anonymous', peaks[1])
    return go


def memory_training(row):
    ours = Ours('full', 'softmax', 'f32', 'train', 32, 2, 5)
    seen = []
    ours.watch(sample=lambda pids: seen.append(sum(map(programs.proportional, pids))))
    at_most(row, ours, 'GB at most, PSS of all', [max(seen)], 7.5)


def store(row):
    """The same questions, with features out of a store that is not in memory when a round begins."""
    ours = Ours('full', 'softmax', 'bf16', 'answer', 32, 4, 10)

    def make(path):
        workload.table(path + '.tsv', ours.stream)
        subprocess.run(['vqa-featpack', '--quiet', path + '.tsv', path], check=True)
        os.unlink(path + '.tsv')
    packed = made('full.lmdb', make)
    bare = made('full.bare', lambda path: workload.without_images(path, ours.stream))
    disk = Ours('full', 'softmax', 'bf16', 'answer', 32, 4, 10)
    disk.name, disk.stream, disk.commands = 'vqa, store on disk', bare, [['vqa-featload', packed], *disk.commands]
    rates = [], []
    for _ in range(ROUNDS):
        with open(packed, 'rb') as f:
            os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        rates[0].append(disk.rate())
        rates[1].append(ours.rate())
        say('  from the store %.2f, from memory %.2f questions/s' % (rates[0][-1], rates[1][-1]))
    ratios = [a / b for a, b in zip(*rates)]
    # No slower: not in every round.
    line(row, ours, 'questions/s', statistics.median(rates[0]), 'vqa, stream in memory', statistics.median(rates[1]), ratios,
         goal='>= 1 in a round', met=max(ratios) >= 1)


def overhead(row):
    """
    The four programs take turns. So the time when no thread runs, and that which their main threads spend in the kernel, is the price of
    there being four: waiting, waking, pipes, commits. Page faults count as well, so the figure is a bound from above.
    """
    for kind, precision in (('softmax', 'f32'), ('entmax', 'bf16')):
        ours, shares = Ours('full', kind, precision, 'train', 32, 5, 5), []
        for _ in range(ROUNDS):
            marks, looks = [], []
            begin, end = ours.watch(at_mark=lambda pids: marks.append([programs.main_thread(p) for p in pids]),
                                    sample=lambda _: looks.append((time.monotonic(), programs.runnable() == 0)), every=0.002)
            spent = [(after[0] - before[0], after[1] - before[1]) for before, after in zip(*marks)]
            wall = end - begin
            idle, kernel = statistics.mean(nobody for t, nobody in looks if begin <= t <= end), sum(system for _, system in spent) / wall
            say('  nobody computes %.1f %%, kernel %.1f %%; forward, loss, backward, step: %s s a step'
                % (100 * idle, 100 * kernel, ' '.join('%.3f' % (ran / ours.timed) for ran, _ in spent)))
            shares.append(100 * (idle + kernel))
        at_most(row, ours, '% of a step', shares, 3)


def single(precision):
    """One question after the other to a program that waits, and its first answer from a start."""
    def go(row):
        once, ours = [], Ours('full', 'softmax', precision, 'answer', 1, 1, 1)
        starts = []
        image, question = [r for _, r in zip(range(2), workload.records(1, 2048, 3129))]
        for _ in range(ROUNDS):
            begin = time.monotonic()
            run = subprocess.Popen(ours.commands[0], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            count, times, asked = programs.answer_counter(), [], 0
            send = lambda *records: (run.stdin.write(b''.join(map(workload.pack, records))), run.stdin.flush())
            run.stdin.write(workload.header(21))
            done = 0
            for i in range(21):
                sent = time.monotonic()
                send(*([image] if i == 0 else []), dict(question, id=i))
                while done <= i:
                    chunk = os.read(run.stdout.fileno(), 1 << 16)
                    if not chunk:
                        raise Failed('vqa-forward ended')
                    done = count(chunk)
                times.append(time.monotonic() - sent)
                asked = asked or time.monotonic() - begin
            send({'type': 'end', 'questions': 21})
            run.stdin.close()
            run.stdout.read()
            if run.wait():
                raise Failed('vqa-forward failed')
            once.append(1e3 * statistics.median(times[1:]))
            starts.append(asked - statistics.median(times[1:]))
        at_most(row, ours, 'ms an answer, same image', once, 40)
        at_most('start', ours, 's to the first answer, less one', starts, 2)
    return go


def agreement(row):
    """Top answers of a trained model; where a pipeline has trained one."""
    ours, run, data = Ours('small', 'entmax', 'bf16', 'answer', 32, 1, 1), os.environ.get('BENCH_MODEL', 'snap/sparse'), 'data/easy-vqa'
    if not os.path.exists(run + '/BEST.safetensors') or not os.path.exists(data + '/test.lmdb'):
        return skipped(row, ours, '% of top answers', '-', '>= 99.5', 'no trained model: make pipelines/train-sparse first (or BENCH_MODEL)')
    ours.size, found = run, []
    for precision in ('f32', 'bf16'):
        out = subprocess.run('vqa-tokenize %s/test.json | vqa-featload %s/test.lmdb | vqa-forward -p %s %s/BEST.safetensors | vqa-submit'
                             % (data, data, precision, run), shell=True, check=True, stdout=subprocess.PIPE).stdout
        found.append([r['answer'] for r in json.loads(out)])
    same = 100 * sum(a == b for a, b in zip(*found)) / len(found[0])
    line(row, ours, '% of top answers', same, 'vqa, f32', goal='>= 99.5', met=same >= 99.5)


def profile(kind, precision, work, batch):
    def go(row):
        why = phases.missing()
        ours = Ours('full', kind, precision, work, batch, 6, 10 if work == 'answer' else 4)
        if why:
            return say('  %s: skipped: %s' % (row, why))
        phases.show(row, ours, limit('full', precision), CORES)
    return go


ROWS = {
    'answers-softmax-f32': answers('softmax', 'f32', [OPENVINO, ORT, EAGER, COMPILED], [('OpenVINO', 1.8)]),
    'answers-softmax-bf16': answers('softmax', 'bf16', [OPENVINO, EAGER, WEIGHTS, COMPILED], [('OpenVINO', 1.8)]),
    'answers-adaptive-f32': answers('adaptive', 'f32', [OPENVINO], [('OpenVINO', 1.7)]),
    'answers-entmax-f32': answers('entmax', 'f32', [EAGER, COMPILED], [('PyTorch', 5.5), ('vqa', 0.9)], 'softmax'),
    'answers-entmax-bf16': answers('entmax', 'bf16', [EAGER, COMPILED], [('vqa', 0.9)], 'softmax'),
    'train-softmax-f32': trains('softmax', 'f32', 32, [EAGER, COMPILED], 3),
    'train-sparse-bf16': trains('entmax', 'bf16', 32, [EAGER, COMPILED], 3),
    'train-sparse-bf16-128': trains('entmax', 'bf16', 128, [EAGER, COMPILED], 3.5),
    'overhead': overhead,
    'store': store,
    'memory-f32': memory('f32', 1.5),
    'memory-bf16': memory('bf16', 0.9),
    'memory-train': memory_training,
    'single-f32': single('f32'),
    'single-bf16': single('bf16'),
    'agreement': agreement,
    'small-answers-softmax-f32': small('softmax', 'f32', 'answer', [EAGER]),
    'small-answers-entmax-f32': small('entmax', 'f32', 'answer', [EAGER]),
    'small-train-softmax-f32': small('softmax', 'f32', 'train', [EAGER]),
    'small-train-sparse-f32': small('entmax', 'f32', 'train', [EAGER]),
}
PROFILES = {
    'profile-answers-f32': profile('softmax', 'f32', 'answer', 32),
    'profile-answers-bf16': profile('softmax', 'bf16', 'answer', 32),
    'profile-train-f32': profile('softmax', 'f32', 'train', 32),
    'profile-train-sparse-bf16': profile('entmax', 'bf16', 'train', 32),
}


ROWS_ON_CARD = {'%s-%s-%s-%d' % (work, kind, precision, batch): on_card(kind, precision, work, batch)
                for work in ('answer', 'train') for kind in ('softmax', 'entmax') for precision in ('f32', 'tf32', 'bf16')
                for batch in (32, 128, 512)}


def show_roofline():
    print('\n# of the limit: %s' % ('oneDNN alone in this run' if programs.DEVICE == 'cpu' else 'the data sheet of the card'))
    print('row', 'size', 'attention', 'precision', 'work', 'batch', 'G MACs a batch', 's a batch', 'GFLOP/s', 'limit', '% of limit', sep='\t')
    for row, ours, each, seconds in roofline:
        speed = 2e-9 * each / seconds
        most = limit(ours.size, ours.precision) if programs.DEVICE == 'cpu' else card_limit(ours.precision)
        print(row, ours.size, ours.kind, ours.precision, ours.work, ours.batch, number(1e-9 * each * ours.batch),
              number(seconds * ours.batch), number(speed), number(most), number(most and 100 * speed / most), sep='\t', flush=True)


def attempt(name, go):
    """Whether there is a figure."""
    say(name)
    try:
        go(name)
        return True
    except (Failed, OSError, subprocess.CalledProcessError) as why:
        say('  %s: skipped: %s' % (name, why))
        return False


def run_rows(rows):
    for name, go in rows.items():
        begin, cpu, own = time.monotonic(), programs.cpu_seconds(), os.times()
        if not attempt(name, go):
            print(name, *(len(HEADER) - 1) * ['-'], sep='\t', flush=True)
        end, mine = time.monotonic(), os.times()
        disturbed(begin, end, programs.cpu_seconds() - cpu, sum(mine[:4]) - sum(own[:4]))


def main():
    names = sys.argv[1:]
    all_rows, profiles = (ROWS, PROFILES) if programs.DEVICE == 'cpu' else (ROWS_ON_CARD, {})
    if names == ['--list']:
        print(*all_rows, *profiles, sep='\n')
        return
    if programs.DEVICE != 'cpu':
        print('# card and driver: %s' % card())
    picked = lambda rows: {n: go for n, go in rows.items() if not names or any(n == w or n.startswith(w + '-') for w in names)}
    if not picked(all_rows) and not picked(profiles):
        sys.exit('bench: no such row; --list shows them')
    print(*HEADER, sep='\t', flush=True)
    run_rows(picked(all_rows))
    if roofline:
        show_roofline()
    if picked(profiles):
        phases.header()
        for name, go in picked(profiles).items():
            attempt(name, go)


main()
