#!/usr/bin/python3
"""One peer, in a process of its own: it loads and compiles, shows that it is the same model, and then runs when it is told to.

    peer.py RUNTIME PRECISION WORK BATCH CKPT STREAM SKIP COUNT OURS

    RUNTIME     openvino | onnxruntime | eager | weights (eager, weights in bf16) | compiled
    PRECISION   f32 | bf16; tf32 on a card
    WORK        answer | train
    OURS        what our programs made of STREAM's first batches: vqa-forward -l's answers, or vqa-step's table without dropout

"ready WORDS" on stdout, or the end with a reason on stderr. Then a line of seconds on stdin is answered by questions a second over
at least that time, in whole batches of the COUNT after SKIP. Reading and padding the questions lies outside the timed part. BENCH_DEVICE in the environment: cpu, or cuda.
"""
import os
import sys
import time

import msgpack
import torch

from lxmert import Lamb, Lxmert, batches, checkpoint, train

# The largest difference of logits, and their root mean square, as a share of the logits' deviation. bf16 keeps 8 bits: a product
# is off by 2^-9 or so, and some hundred of them lie between a question and its answer.
ALLOWED = {'f32': (1e-4, 1e-4), 'tf32': (0.1, 0.02), 'bf16': (0.3, 0.06)}
# Of themselves: the loss and the norm of the gradient. What a step of LAMB does enlarges the differences.
ALLOWED_TRAINING = {'f32': (1e-4, 1e-2), 'tf32': (1e-3, 5e-2), 'bf16': (1e-2, 1e-1)}
DEVICE = os.environ.get('BENCH_DEVICE', 'cpu')
CHECK_RATES, RATES = (1e-3, 1e-3), (1e-5, 5e-5)   # lowest and highest; a check's steps are large enough to show in the loss


def openvino(model, precision, example):
    import openvino as ov
    graph = ov.convert_model(model, example_input=example)
    graph.reshape({port: list(x.shape) for port, x in zip(graph.inputs, example)})
    compiled = ov.Core().compile_model(graph, 'CPU', {'INFERENCE_PRECISION_HINT': precision, 'PERFORMANCE_HINT': 'LATENCY',
                                                      'INFERENCE_NUM_THREADS': torch.get_num_threads()})
    return lambda inputs: torch.from_numpy(compiled([x.numpy() for x in inputs])[0])


def onnxruntime(model, precision, example):
    import onnxruntime as ort
    path = '%s.%d.onnx' % (sys.argv[5], os.getpid())
    names = ['ids', 'mask', 'features', 'boxes']
    torch.onnx.export(model, example, path, dynamo=False, input_names=names, opset_version=17)
    options = ort.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = ort.InferenceSession(path, options, providers=['CPUExecutionProvider'])
    os.unlink(path)
    return lambda inputs: torch.from_numpy(session.run(None, dict(zip(names, (x.numpy() for x in inputs))))[0])


def pytorch(runtime, precision):
    def make(model, _, example):
        cast = runtime == 'weights'
        if cast:
            model.bfloat16()

        def answer(inputs):
            with torch.inference_mode(), torch.autocast(DEVICE, torch.bfloat16, enabled=precision == 'bf16' and not cast):
                return model(inputs[0], *(x.bfloat16() if cast else x for x in inputs[1:])).float()
        return answer
    return make


def logits_of(path):
    with open(path, 'rb') as answers:
        return torch.cat([torch.frombuffer(bytearray(r['logits']), dtype=torch.float32)
                          for r in msgpack.Unpacker(answers, raw=False) if r['type'] == 'answer'])


def check_answers(answer, known, ours, precision):
    ours = logits_of(ours)
    theirs = torch.cat([answer(batch[:4]).flatten() for batch in known])[:len(ours)].cpu()
    ours, deviation = ours[:len(theirs)], ours.std().item()
    worst, mean = (ours - theirs).abs().max().item() / deviation, (ours - theirs).square().mean().sqrt().item() / deviation
    if not (worst <= ALLOWED[precision][0] and mean <= ALLOWED[precision][1]):
        sys.exit('not the same model: logits differ by %.2g, in the mean by %.2g of their deviation' % (worst, mean))
    return 'logits differ by %.1e at most, in the mean by %.1e of their deviation' % (worst, mean)


def check_training(model, known, log, precision):
    rows = [line.rstrip('\n').split('\t') for line in open(log)]
    rows = [dict(zip(rows[0], row)) for row in rows[1:]]
    lamb = Lamb(model.parameters())
    theirs = [train(model.eval(), lamb, batch, CHECK_RATES, precision == 'bf16') for batch, _ in zip(known, rows)]
    worst = [max(abs(float(row[name]) / pair[i] - 1) for row, pair in zip(rows, theirs)) for i, name in enumerate(('total', 'norm'))]
    if not all(a <= b for a, b in zip(worst, ALLOWED_TRAINING[precision])):
        sys.exit('not the same model: over %d steps the loss differs by %.2g and the norm by %.2g of themselves' % (len(theirs), *worst))
    return 'over %d steps the loss differs by %.1e and the norm by %.1e of themselves' % (len(theirs), *worst)


def main():
    runtime, precision, work, size, path, stream, skip, count, ours = sys.argv[1:]
    size, skip, count = int(size), int(skip), int(count)
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    config, answers, tensors = checkpoint(path)
    model = Lxmert(config, answers)
    model.load_state_dict(tensors)
    if DEVICE != 'cpu' and not torch.cuda.is_available():
        sys.exit('this PyTorch cannot use the card')
    model.to(DEVICE)
    torch.backends.cuda.matmul.allow_tf32 = precision == 'tf32'
    there = lambda several: [tuple(x.to(DEVICE) for x in batch) for batch in several]
    known = there(batches(stream, answers, size, skip, count))
    first = there(batches(stream, answers, size, 0, 3))
    if runtime == 'compiled':
        model.compile(dynamic=False)
    if work == 'train':
        said = check_training(model, first, ours, precision)
        model.load_state_dict(tensors)   # the check's steps were large
        lamb = Lamb(model.parameters())
        run = lambda batch: train(model.train(), lamb, batch, RATES, precision == 'bf16')
    else:
        model.eval()
        make = {'openvino': openvino, 'onnxruntime': onnxruntime}.get(runtime, pytorch(runtime, precision))
        answer = make(model, precision, tuple(first[0][:4]))
        said = check_answers(answer, first[:1], ours, precision)
        run = lambda batch: answer(batch[:4]).argmax(1).tolist()
    run(known[0])
    print('ready', said, flush=True)
    at = 0
    for line in sys.stdin:
        start, done = time.perf_counter(), 0
        while not done or time.perf_counter() - start < float(line):
            run(known[at % count])
            at, done = at + 1, done + 1
        print('%.4f' % (size * done / (time.perf_counter() - start)), flush=True)


main()
