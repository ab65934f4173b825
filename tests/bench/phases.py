"""Where the time of a run goes, by perf: processors' samples of its timed part, by program and by what the function is for."""
import collections
import os
import re
import shlex
import shutil
import subprocess

HERTZ = 499

# The first that a sample's function fits; what our own products (lib/op/cpu/amx.c, dot.c) do before, between and after is theirs.
FUNCTIONS = [
    ('GEMM', r'^(multiply|pack(_|\b)|turn_|copy_rows|copy_odd_rows|strips_of|finish_block)|dnnl|gemm|brgemm|jit'),
    ('attention', r'attention|entmax|easy|softmax|span|tile|scores|^weights\b'),
    ('layer norm', r'layernorm|normali[sz]e|gain_bias|scale_shift|(forward|backward)_row'),
    ('activation, rounding', r'activat|gelu|erf|tanh|finish|narrow|_round\b'),
    ('optimizer', r'lamb|^moments|^move\b|^block\b|adamw|lookahead|sumsq|clamp|clip'),
    ('dropout', r'dropout|philox|^draw\b|^keep|cpu_drop'),
    ('sums, copies', r'columns|embedding|gather|average|cpu_add|memcpy|memmove|memset'),
]
# Or else its library: kernels that oneDNN makes at run time have no name, and lie in none.
LIBRARIES = [
    ('GEMM', r'dnnl|^\[unknown\]|//anon|perf-\d+\.map'),
    ('threads waiting', r'gomp'),
    ('kernel', r'\[kernel|\[k\]|kallsyms|vmlinux'),
]


def missing():
    if not shutil.which('perf'):
        return 'no perf here (Debian: linux-perf)'
    test = subprocess.run(['perf', 'record', '-q', '-k', 'CLOCK_MONOTONIC', '-e', 'cpu-clock', '-o', '/dev/null', 'true'],
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    return test.stderr.strip().split('\n')[-1] if test.returncode else None


def class_of(function, library):
    for text, classes in (function, FUNCTIONS), (library, LIBRARIES):
        for name, pattern in classes:
            if re.search(pattern, text):
                return name
    return 'other'


def samples(path, begin, end):
    """(program, class) to how many of them."""
    out = collections.Counter()
    script = subprocess.Popen(['perf', 'script', '-i', path, '--time', '%.6f,%.6f' % (begin, end), '-F', 'comm,ip,sym,dso'],
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    for line in script.stdout:
        m = re.match(r'\s*(\S+)\s+[0-9a-f]+ (.*) \((.*)\)\s*$', line)
        if m and m[1].startswith('vqa-'):
            out[m[1], 'kernel' if '[kernel' in m[3] else class_of(m[2], m[3])] += 1
    if script.wait():
        raise OSError('perf script failed')
    return out


def header():
    print('\n# where the time goes, by perf; seconds are those of all cores together, so that they add up to a batch')
    print('row', 'size', 'attention', 'precision', 'work', 'batch', 'program', 'phase', 's a batch', '% of time', 'G MACs', 'GFLOP/s',
          '% of limit', sep='\t', flush=True)


def show(row, ours, limit, cores):
    path = 'build/bench/perf.data'
    pipeline = ' | '.join(map(shlex.join, ours.commands))
    begin, end = ours.watch([['perf', 'record', '-q', '-k', 'CLOCK_MONOTONIC', '-e', 'cpu-clock', '-F', str(HERTZ), '-o', path, '--',
                              'bash', '-c', 'set -o pipefail; ' + pipeline]])
    found = samples(path, begin, end)
    os.unlink(path)
    wall, scale = (end - begin) / ours.timed, 1 / (HERTZ * cores * ours.timed)
    each = 1e-9 * ours.macs() * ours.batch
    gemm = sum(n for (_, name), n in found.items() if name == 'GEMM') * scale
    lines = [(program, name, n * scale) for (program, name), n in found.most_common() if n * scale > 0.002 * wall]
    lines.append(('-', 'idle', wall - sum(found.values()) * scale))
    start = [row, ours.size, ours.kind, ours.precision, ours.work, ours.batch]
    for program, name, seconds in lines:
        print(*start, program, name, '%.4f' % seconds, '%.1f' % (100 * seconds / wall), *3 * ['-'], sep='\t')
    for name, seconds in (('all GEMM', gemm), ('all', wall)):
        speed = 2 * each / seconds if seconds else 0
        print(*start, '-', name, '%.4f' % seconds, '%.1f' % (100 * seconds / wall), '%.3g' % each, '%.0f' % speed,
              '%.0f' % (100 * speed / limit), sep='\t', flush=True)
