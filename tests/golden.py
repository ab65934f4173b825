#!/usr/bin/python3
"""The goldens as streams, and what the programs made of them against what the reference computed.

    golden.py stream CASE STEPS             question and image records of steps 1..STEPS on stdout
    golden.py logits CASE STEP FILE         a stream with answers (vqa-forward -l) or batches: logits, losses
    golden.py gradients CASE FILE           safetensors of vqa-backward -g against 1.grad.*
    golden.py params CASE STEP FILE START   a checkpoint against STEP.param.*; START: the weights before
    golden.py log CASE FILE                 log.tsv against case.json's losses and norms

With PRECISION=bf16 in the environment, logits, losses and gradients are of products in bf16: each factor is rounded by up to 2^-9,
2e-3, at random, and an output that went through ten layers of sums of such products by two or three times that. With tf32 each factor is
off by up to 2^-10, 1e-3, where a card cuts it, and by half of that where it rounds.

Exits 1 and names the worst tensor where a tolerance is passed. Tolerances: between float32 and double the reference's own
code differs by up to 2e-6 (logits), 6e-7 (gradients) and 2e-6 (weights after 11 steps) on these cases; sums in another order
and other elementary functions are allowed about ten times that, the weights fifty times (LAMB divides by sqrt(v)). A tensor alone may be
small beside what it is the difference of (an alpha's gradient: 5e-6 here), so that it is allowed five or ten times what all are together.
"""
import array
import json
import math
import os
import sys

import msgpack

from safetensors import load, values

LOGITS, GRADIENTS, WEIGHTS, NORM = 2e-5, 2e-5, 1e-4, 1e-5
GRADIENT_ALONE, WEIGHT_ALONE = 1e-4, 1e-3
if os.environ.get('PRECISION') == 'bf16':
    LOGITS, GRADIENTS, GRADIENT_ALONE = 1e-2, 1e-2, None
if os.environ.get('PRECISION') == 'tf32':
    LOGITS, GRADIENTS, GRADIENT_ALONE = 4e-3, 4e-3, None


def safetensors(path):
    return {name: (t[1], values(t)) for name, t in load(path)[1].items()}


def stream(case, steps):
    inputs = safetensors(case + '/in.safetensors')
    out = sys.stdout.buffer
    send = lambda r: out.write(msgpack.packb(r, use_bin_type=True))
    send({'type': 'header', 'vqa': 1, 'by': 'golden.py'})
    count = 0
    for step in range(1, steps + 1):
        (b, length), ids = inputs['%d.ids' % step]
        mask = inputs['%d.mask' % step][1]
        (_, regions, width), features = inputs['%d.features' % step]
        boxes = inputs['%d.boxes' % step][1]
        answers = inputs['%d.target' % step][0][1]
        target = inputs['%d.target' % step][1]
        for q in range(b):
            name = '%d.%d' % (step, q)
            tokens = [ids[q * length + i] for i in range(length) if mask[q * length + i]]
            label = {str(a): target[q * answers + a] for a in range(answers) if target[q * answers + a]}
            send({'type': 'image', 'id': name, 'n': regions, 'width': 1, 'height': 1,
                  'boxes': boxes[q * regions * 4:(q + 1) * regions * 4].tobytes(),
                  'features': features[q * regions * width:(q + 1) * regions * width].tobytes()})
            send({'type': 'question', 'id': count, 'image': name, 'sent': '', 'label': label,
                  'tokens': array.array('i', tokens).tobytes()})
            count += 1
    send({'type': 'end', 'questions': count})


def ours_of(name):
    """A golden's name as the checkpoints have it: one alpha, no wrapper of LayerDrop's."""
    return name.replace('alpha_chooser', 'alpha').replace('.module_list', '')


def relative(ours, theirs):
    """|ours - theirs|^2, |theirs|^2"""
    return sum((x - y) ** 2 for x, y in zip(ours, theirs)), sum(y * y for y in theirs)


def by_rounding(name):
    """
    A tensor whose exact gradient is zero: softmax and entmax do not see what is the same for all keys, as a key bias is, and row 0
    of an embedding has no gradient (padding_idx), which is all that is used of the token types. Whatever is computed for it is
    rounding, and the optimizer scales that up; its error alone says nothing.
    """
    return name.endswith(('.key.bias', '.token_type_embeddings.weight'))


def check(what, pairs, tolerance, alone=None):
    """|ours - theirs| / |theirs| over all pairs (name, ours, theirs) together; and, with `alone`, of each by itself."""
    error = size = 0.0
    worst = (-1.0, 'none')
    for name, ours, theirs in pairs:
        if len(ours) != len(theirs):
            sys.exit('%s: %d elements, expected %d' % (name, len(ours), len(theirs)))
        e, s = relative(ours, theirs)
        error += e
        size += s
        if not by_rounding(name):
            own = math.sqrt(e / s) if s else math.inf if e else 0.0
            worst = max(worst, (own if own == own else math.inf, name))
    value = math.sqrt(error / size)
    print('%s: relative error %.2e, tolerance %.0e; worst alone %s, %.2e%s' %
          (what, value, tolerance, worst[1], worst[0], ', tolerance %.0e' % alone if alone else ''))
    # not <=: NaN is no match.
    if not value <= tolerance or alone and not worst[0] <= alone:
        sys.exit(1)


def logits(case, step, path):
    want = safetensors(case + '/out.safetensors')
    losses = json.load(open(case + '/case.json'))['losses']
    seen = 0
    answers = array.array('f')
    for r in msgpack.Unpacker(open(path, 'rb'), raw=False):
        if r['type'] == 'answer':
            answers.frombytes(r['logits'])
        if r['type'] == 'batch':
            ours = array.array('f')
            ours.frombytes(r['logits'])
            seen += 1
            check('logits of step %d' % seen, [('logits', ours, want['%d.logits' % r['step']][1])], LOGITS)
            if 'total' in r:
                check('loss of step %d' % seen, [('total', [r['total']], [losses[r['step'] - 1]['total']])], LOGITS)
    if answers:
        check('logits', [('logits', answers, want['%d.logits' % step][1])], LOGITS)
    elif seen != step:
        sys.exit('%d batches, expected %d' % (seen, step))


def gradients(case, path):
    want = {k[7:]: v for k, v in safetensors(case + '/out.safetensors').items() if k.startswith('1.grad.')}
    ours = safetensors(path)
    want = {ours_of(k): v for k, v in want.items()}
    if set(ours) != set(want):
        sys.exit('gradients of other tensors: %s' % sorted(set(ours) ^ set(want)))
    check('gradients', [(k, ours[k][1], want[k][1]) for k in sorted(want)], GRADIENTS, GRADIENT_ALONE)


def params(case, step, path, start):
    out = safetensors(case + '/out.safetensors')
    prefix = '%d.param.' % step
    want = {ours_of(k[len(prefix):]): v for k, v in out.items() if k.startswith(prefix)}
    moved = {ours_of(k[7:]) for k in out if k.startswith('1.grad.')}
    # With LayerDrop what had no gradient in the first step may have one later: what the golden itself moves.
    if any('.module_list.' in k for k in out):
        moved |= {k for k in want if want[k][1].tobytes() != safetensors(start)[k][1].tobytes()}
    ours, before = safetensors(path), safetensors(start)
    if set(ours) != set(want):
        sys.exit('other tensors: %s' % sorted(set(ours) ^ set(want)))
    for name in sorted(set(ours) - moved):
        if ours[name][1].tobytes() != before[name][1].tobytes():
            sys.exit('%s has no gradient, yet it changed' % name)
    check('weights after %d steps' % step, [(k, ours[k][1], want[k][1]) for k in sorted(want)], WEIGHTS, WEIGHT_ALONE)


def log(case, path):
    want = json.load(open(case + '/case.json'))
    rows = [line.rstrip('\n').split('\t') for line in open(path)]
    column = {name: i for i, name in enumerate(rows[0])}
    if len(rows) - 1 != len(want['losses']):
        sys.exit('%d rows, expected %d' % (len(rows) - 1, len(want['losses'])))
    for row, losses, norm, rate in zip(rows[1:], want['losses'], want['grad_norm_before_clip'], want['rates']):
        step = int(row[column['step']])
        check('step %d: loss' % step, [('total', [float(row[column['total']])], [losses['total']])], LOGITS)
        check('step %d: norm' % step, [('norm', [float(row[column['norm']])], [norm])], NORM)
        # Printed with nine digits.
        check('step %d: rate' % step, [('rate', [float(row[column['rate']])], [rate])], 1e-8)


if __name__ == '__main__':
    command, args = sys.argv[1], sys.argv[2:]
    if command == 'stream':
        stream(args[0], int(args[1]))
    elif command == 'logits':
        logits(args[0], int(args[1]), args[2])
    elif command == 'gradients':
        gradients(*args)
    elif command == 'params':
        params(args[0], int(args[1]), args[2], args[3])
    elif command == 'log':
        log(*args)
    else:
        sys.exit(__doc__)
