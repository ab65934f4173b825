"""Our programs as pipelines: run, timed by what comes out of them, and looked at meanwhile."""
import os
import subprocess
import sys
import threading
import time

import msgpack


class Failed(Exception):
    pass


DEVICE = os.environ.get('BENCH_DEVICE', 'cpu')


def forward_program(batch, precision):
    return ['vqa-forward', '-D', DEVICE, '-p', precision, '-b', str(batch)]


def answering(ckpt, batch, precision, *options):
    return [[*forward_program(batch, precision), *options, ckpt]]


def training(ckpt, batch, precision, forward=(), step=()):
    return [[*forward_program(batch, precision), '-t', *forward, ckpt], ['vqa-loss'], ['vqa-backward'], ['vqa-step', *step]]


def answer_counter():
    """Of a stream's chunks: how many answers were whole so far."""
    unpacker, count = msgpack.Unpacker(raw=False, max_buffer_size=1 << 28), 0

    def add(chunk):
        nonlocal count
        unpacker.feed(chunk)
        count += sum(r['type'] == 'answer' for r in unpacker)
        return count
    return add


def step_counter(batch):
    """Of chunks of vqa-step's table: how many questions were trained on so far."""
    lines = 0

    def add(chunk):
        nonlocal lines
        lines += chunk.count(b'\n')
        return (lines - 1) * batch
    return add


class Run:
    def __init__(self, commands, stdin):
        self.processes, source = [], stdin
        for command in commands:
            self.processes.append(subprocess.Popen(command, stdin=source, stdout=subprocess.PIPE))
            if source is not stdin:
                source.close()
            source = self.processes[-1].stdout
        self.out = source

    def pids(self):
        return [p.pid for p in self.processes]

    def chunks(self):
        while chunk := os.read(self.out.fileno(), 1 << 20):
            yield chunk

    def finish(self):
        self.out.close()
        failed = [p.args[0] for p in self.processes if p.wait()]
        if failed:
            raise Failed('%s failed' % failed[0])


def watch(commands, stream, counter, marks, at_mark=None, sample=None, every=0.1):
    """The times when as many questions were done as marks has it; sample(pids) is called all the while, each so many seconds, in a thread."""
    times, marks = [], list(marks)
    with open(stream, 'rb') as stdin:
        run = Run(commands, stdin)
    over = threading.Event()

    def look():
        while not over.wait(every):
            sample(run.pids())
    looker = threading.Thread(target=look)
    if sample:
        looker.start()
    for chunk in run.chunks():
        done = counter(chunk)
        while len(times) < len(marks) and done >= marks[len(times)]:
            times.append(time.monotonic())
            if at_mark:
                at_mark(run.pids())
    over.set()
    if sample:
        looker.join()
    run.finish()
    if len(times) < len(marks):
        raise Failed('%s did %d of %d questions' % (commands[-1][0], done, marks[-1]))
    return times


def save(commands, stream, path):
    with open(stream, 'rb') as stdin, open(path, 'wb') as out:
        run = Run(commands, stdin)
        for chunk in run.chunks():
            out.write(chunk)
        run.finish()


# --- /proc.

def status(pid):
    """VmHWM, RssAnon, …, in GB; nothing of a process that has ended."""
    try:
        with open('/proc/%d/status' % pid) as lines:
            return {name: int(rest.split()[0]) * 1024 / 1e9 for name, rest in (line.split(':', 1) for line in lines) if ' kB' in rest}
    except (OSError, IndexError):
        return {}


def proportional(pid):
    """What a process holds, a shared page by its share, in GB."""
    try:
        with open('/proc/%d/smaps_rollup' % pid) as lines:
            return sum(int(line.split()[1]) for line in lines if line.startswith('Pss:')) * 1024 / 1e9
    except OSError:
        return 0


def main_thread(pid):
    """Seconds on a processor of a process's main thread, and those of them in the kernel (by clock ticks)."""
    with open('/proc/%d/task/%d/schedstat' % (pid, pid)) as f:
        ran = int(f.read().split()[0]) / 1e9
    with open('/proc/%d/task/%d/stat' % (pid, pid)) as f:
        fields = f.read().rsplit(')', 1)[1].split()
    user, system = int(fields[11]), int(fields[12])
    return ran, system / os.sysconf('SC_CLK_TCK') if user + system else 0


def runnable():
    """Threads of the machine that run or could, but for the one that asks."""
    with open('/proc/loadavg') as f:
        return int(f.read().split()[3].split('/')[0]) - 1


def cpu_seconds():
    """What all processes of the machine have run."""
    with open('/proc/stat') as f:
        fields = [int(x) for x in f.readline().split()[1:]]
    return (sum(fields[:3]) + sum(fields[5:8])) / os.sysconf('SC_CLK_TCK')


def say(*words):
    print(*words, file=sys.stderr, flush=True)
