#!/usr/bin/python3
"""The workload of tests/bench, and its peer: the same model in PyTorch, as the reference runs it.

    bench.py stream QUESTIONS FEATURES ANSWERS        a stream of questions shaped like VQA's on stdout
    bench.py row SIZE ATTENTION WORK                  medians of rounds (questions, seconds of N, of 2 N batches, the peer's rate)
    bench.py versions                                 the peer's versions, one line
    bench.py check CKPT STREAM ANSWERED LOG           logits, losses and norms against what our programs made of STREAM
    bench.py answer CKPT STREAM WARM TIMED            answer WARM batches, then time TIMED more: questions a second
    bench.py train CKPT STREAM WARM TIMED             the same for training steps

The peer is eager PyTorch in float32: every question padded to 20 tokens and 36 regions, every layer computed whole, entmax by
the bisection of the package entmax. Reading and padding the questions lies outside its timed part.
"""
import array
import json
import math
import os
import random
import statistics
import struct
import sys
import time

import msgpack

BATCH, TOKENS, OBJECTS = 32, 20, 36
RATES = {'check': (1e-3, 1e-3), 'train': (1e-5, 5e-5)}   # lowest and highest; a check's steps are large enough to show in the loss


# --- The workload.

def stream(questions, features, answers):
    """VQA's shape: 5.4 questions an image, in the images' order, of 5 to 17 tokens, 9.6 on average; 1 to 3 answers of 10 people's."""
    draw = random.Random(1)
    pool = array.array('f', (draw.gauss(0, 1) for _ in range(1 << 20))).tobytes()
    size = 4 * OBJECTS * features
    left = 0

    def send(record):
        sys.stdout.buffer.write(msgpack.packb(record, use_bin_type=True))

    send({'type': 'header', 'vqa': 1, 'by': 'bench.py', 'questions': questions})
    for q in range(questions):
        if not left:
            left = 5 + (draw.random() < 0.4)
            image = 'image %d' % q
            start = 4 * draw.randrange((len(pool) - size) // 4)
            boxes = array.array('f', (draw.random() for _ in range(4 * OBJECTS)))
            send({'type': 'image', 'id': image, 'n': OBJECTS, 'width': 640, 'height': 480, 'boxes': boxes.tobytes(),
                  'features': pool[start:start + size]})
        left -= 1
        n = 5 + sum(draw.random() < 4.6 / 12 for _ in range(12))
        tokens = array.array('i', [101] + [draw.randrange(1000, 30522) for _ in range(n - 2)] + [102])
        label = {str(draw.randrange(answers)): score for score in (1.0, 0.6, 0.3)[:draw.randrange(1, 4)]}
        send({'type': 'question', 'id': q, 'image': image, 'sent': '', 'tokens': tokens.tobytes(), 'label': label})
    send({'type': 'end', 'questions': questions})


def row(*names):
    """Rounds in which the longer run took less time are left out, and said so."""
    rounds, columns = [], []
    for questions, once, twice, *theirs in (map(float, line.split()) for line in sys.stdin):
        if twice > once:
            rounds.append([questions / (twice - once)] + theirs)
        else:
            print('bench.py: %s: a round is left out, this machine is too busy' % ' '.join(names), file=sys.stderr)
    if rounds:
        columns.append('%.1f' % statistics.median(r[0] for r in rounds))
        if len(rounds[0]) > 1:
            ratios = [ours / theirs for ours, theirs in rounds]
            columns.append('%.1f' % statistics.median(r[1] for r in rounds))
            columns += ['%.2f' % f(ratios) for f in (statistics.median, min, max)]
    print(*names, *columns, *(5 - len(columns)) * ['-'], sep='\t', flush=True)


if sys.argv[1] in ('stream', 'row'):   # these do without PyTorch
    if sys.argv[1] == 'stream':
        stream(*map(int, sys.argv[2:]))
    else:
        row(*sys.argv[2:])
    sys.exit()

import torch
from entmax import entmax_bisect
from torch import nn
from torch.nn import functional as F


# --- What our programs read and write.

def checkpoint(path):
    """Configuration and tensors of a safetensors file."""
    data = bytearray(open(path, 'rb').read())
    n = struct.unpack('<Q', data[:8])[0]
    header = json.loads(data[8:8 + n])
    metadata = header.pop('__metadata__')
    tensors = {name: torch.frombuffer(data, dtype=torch.float32, offset=8 + n + t['data_offsets'][0],
                                      count=math.prod(t['shape'])).view(t['shape']) for name, t in header.items()}
    return json.loads(metadata['vqa.config']), len(json.loads(metadata['vqa.answers'])), tensors


def batches(path, answers, count):
    """count whole batches, padded: ids, mask, features, boxes, target."""
    unpacker = msgpack.Unpacker(open(path, 'rb'), raw=False, max_bin_len=1 << 26)
    floats = lambda b: torch.frombuffer(bytearray(b), dtype=torch.float32).view(OBJECTS, -1)
    for _ in range(count):
        ids = torch.zeros(BATCH, TOKENS, dtype=torch.int64)
        target = torch.zeros(BATCH, answers)
        features, boxes = [], []
        while len(features) < BATCH:
            r = next(unpacker)
            if r['type'] == 'image':
                image = floats(r['features']), floats(r['boxes'])
            elif r['type'] == 'question':
                tokens = torch.frombuffer(bytearray(r['tokens']), dtype=torch.int32)
                ids[len(features), :len(tokens)] = tokens
                for answer, score in r['label'].items():
                    target[len(features), int(answer)] = score
                features.append(image[0])
                boxes.append(image[1])
        yield ids, (ids != 0).float(), torch.stack(features), torch.stack(boxes), target


# --- The model, under the reference's parameter names.

class Alpha(nn.Module):
    def __init__(self, heads):
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(heads))


class Attend(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.heads = c['heads']
        self.query, self.key, self.value = (nn.Linear(c['hidden'], c['hidden']) for _ in range(3))
        self.entmax_alpha = Alpha(self.heads) if c['sparse'] else None
        self.dropout = nn.Dropout(c['dropout'])

    def split(self, x):
        """(B, N, D) to (B, H, N, D/H)"""
        return x.view(x.shape[0], x.shape[1], self.heads, -1).transpose(1, 2)

    def forward(self, x, context, mask):
        q, k, v = self.split(self.query(x)), self.split(self.key(context)), self.split(self.value(context))
        scores = q @ k.transpose(2, 3) / math.sqrt(q.shape[3])
        if mask is not None:
            scores = scores + mask
        if self.entmax_alpha is not None:
            probs = entmax_bisect(scores, self.entmax_alpha.alpha.view(1, -1, 1, 1))
        else:
            probs = F.softmax(scores, -1)
        return (self.dropout(probs) @ v).transpose(1, 2).flatten(2)


class Output(nn.Module):
    def __init__(self, c, width):
        super().__init__()
        self.dense = nn.Linear(width, c['hidden'])
        self.LayerNorm = nn.LayerNorm(c['hidden'], eps=1e-12)
        self.dropout = nn.Dropout(c['dropout'])

    def forward(self, x, residual):
        return self.LayerNorm(self.dropout(self.dense(x)) + residual)


class Attention(nn.Module):
    def __init__(self, c, name='self'):
        super().__init__()
        self.add_module(name, Attend(c))
        self.name = name
        self.output = Output(c, c['hidden'])

    def forward(self, x, context, mask):
        return self.output(getattr(self, self.name)(x, context, mask), x)


class Wide(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.dense = nn.Linear(c['hidden'], c['ffn'])

    def forward(self, x):
        return F.gelu(self.dense(x))


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.attention, self.intermediate, self.output = Attention(c), Wide(c), Output(c, c['ffn'])

    def forward(self, x, mask):
        x = self.attention(x, x, mask)
        return self.output(self.intermediate(x), x)


class CrossLayer(nn.Module):
    """One set of cross attention weights serves both ways."""
    def __init__(self, c):
        super().__init__()
        self.visual_attention = Attention(c, 'att')
        self.lang_self_att, self.lang_inter, self.lang_output = Attention(c), Wide(c), Output(c, c['ffn'])
        self.visn_self_att, self.visn_inter, self.visn_output = Attention(c), Wide(c), Output(c, c['ffn'])

    def forward(self, lang, visn, mask):
        lang, visn = self.visual_attention(lang, visn, None), self.visual_attention(visn, lang, mask)
        lang, visn = self.lang_self_att(lang, lang, mask), self.visn_self_att(visn, visn, None)
        return self.lang_output(self.lang_inter(lang), lang), self.visn_output(self.visn_inter(visn), visn)


class Embeddings(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.word_embeddings = nn.Embedding(c['vocabulary'], c['hidden'], padding_idx=0)
        self.position_embeddings = nn.Embedding(c['positions'], c['hidden'], padding_idx=0)
        self.token_type_embeddings = nn.Embedding(2, c['hidden'], padding_idx=0)
        self.LayerNorm = nn.LayerNorm(c['hidden'], eps=1e-12)
        self.dropout = nn.Dropout(c['dropout'])

    def forward(self, ids):
        x = (self.word_embeddings(ids) + self.position_embeddings(torch.arange(ids.shape[1]).expand_as(ids)) +
             self.token_type_embeddings(torch.zeros_like(ids)))
        return self.dropout(self.LayerNorm(x))


class Vision(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.visn_fc, self.box_fc = nn.Linear(c['features'], c['hidden']), nn.Linear(4, c['hidden'])
        self.visn_layer_norm, self.box_layer_norm = (nn.LayerNorm(c['hidden'], eps=1e-12) for _ in range(2))
        self.dropout = nn.Dropout(c['dropout'])

    def forward(self, features, boxes):
        return self.dropout((self.visn_layer_norm(self.visn_fc(features)) + self.box_layer_norm(self.box_fc(boxes))) / 2)


class Lxmert(nn.Module):
    def __init__(self, c, answers):
        super().__init__()
        bert, encoder = nn.Module(), nn.Module()
        encoder.visn_fc = Vision(c)
        encoder.layer = nn.ModuleList(Layer(c) for _ in range(c['language']))
        encoder.r_layers = nn.ModuleList(Layer(c) for _ in range(c['vision']))
        encoder.x_layers = nn.ModuleList(CrossLayer(c) for _ in range(c['cross']))
        bert.embeddings, bert.encoder, bert.pooler = Embeddings(c), encoder, nn.Module()
        bert.pooler.dense = nn.Linear(c['hidden'], c['hidden'])
        self.lxrt_encoder = nn.Module()
        self.lxrt_encoder.model = nn.Module()
        self.lxrt_encoder.model.bert = bert
        wide = 2 * c['hidden']
        self.logit_fc = nn.Sequential(nn.Linear(c['hidden'], wide), nn.GELU(), nn.LayerNorm(wide, eps=1e-12), nn.Linear(wide, answers))

    def forward(self, ids, mask, features, boxes):
        bert = self.lxrt_encoder.model.bert
        mask = (1 - mask)[:, None, None, :] * -10000.0
        lang, visn = bert.embeddings(ids), bert.encoder.visn_fc(features, boxes)
        for layer in bert.encoder.layer:
            lang = layer(lang, mask)
        for layer in bert.encoder.r_layers:
            visn = layer(visn, None)
        for layer in bert.encoder.x_layers:
            lang, visn = layer(lang, visn, mask)
        return self.logit_fc(torch.tanh(bert.pooler.dense(lang[:, 0])))


# --- Training.

class Lamb:
    """LAMB, and Lookahead over it every fifth step; a parameter without a gradient is left alone."""
    def __init__(self, params):
        self.params, self.state, self.steps = list(params), {}, 0

    @torch.no_grad()
    def step(self, lowest, highest):
        lr = lowest + (highest - lowest) * (1 - abs(self.steps % 4000 / 2000 - 1))
        self.steps += 1
        for p in self.params:
            if p.grad is None:
                continue
            s = self.state.setdefault(p, {})
            if not s:
                s['m'], s['v'] = torch.zeros_like(p), torch.zeros_like(p)
            s['m'].mul_(0.9).add_(p.grad, alpha=0.1)
            s['v'].mul_(0.999).addcmul_(p.grad, p.grad, value=0.001)
            u = s['m'] / s['v'].sqrt().add_(1e-6)
            u.add_(p, alpha=1.2e-6)
            size, change = min(p.norm().item(), 10), u.norm().item()
            trust = max(size / change, 0.25) if size and change else 1
            p.add_(u, alpha=-lr * trust)
            if self.steps % 5 == 0:
                slow = s.setdefault('slow', p.clone())
                slow.add_(p - slow, alpha=0.8)
                p.copy_(slow)


def train(model, lamb, batch, rates):
    """One step; its loss and the gradient's norm before clipping."""
    loss = F.binary_cross_entropy_with_logits(model(*batch[:4]), batch[4]) * batch[4].shape[1]
    loss.backward()
    norm = nn.utils.clip_grad_norm_(lamb.params, 5.0)
    lamb.step(*rates)
    with torch.no_grad():
        for alpha in (m.alpha for m in model.modules() if isinstance(m, Alpha)):   # as vqa-step keeps them
            alpha.clamp_(1.01, 2)
    model.zero_grad(set_to_none=True)
    return loss.item(), norm.item()


# --- The commands.

def check(model, path, answered, log):
    """Dropout is off on both sides. Sums in another order differ by some 1e-6; a step of LAMB enlarges that."""
    rows = [line.rstrip('\n').split('\t') for line in open(log)]
    rows = [dict(zip(rows[0], row)) for row in rows[1:]][:12]   # Lookahead shows from the tenth step on
    ours = torch.cat([torch.frombuffer(bytearray(r['logits']), dtype=torch.float32)
                      for r in msgpack.Unpacker(open(answered, 'rb'), raw=False) if r['type'] == 'answer'])
    known = list(batches(path, model.logit_fc[3].out_features, len(rows)))
    model.eval()
    with torch.inference_mode():
        logits = torch.cat([model(*batch[:4]) for batch in known]).flatten()
    error = (ours[:len(logits)] - logits).abs().max().item()
    lamb = Lamb(model.parameters())
    theirs = [train(model, lamb, batch, RATES['check']) for batch in known]
    worst = [max(abs(float(row[name]) / pair[i] - 1) for row, pair in zip(rows, theirs)) for i, name in enumerate(('total', 'norm'))]
    print('logits differ by %.1e at most (their deviation is %.2f); over %d steps the loss by %.1e and the norm by %.1e of themselves'
          % (error, logits.std(), len(rows), *worst))
    if not (error <= 1e-4 and worst[0] <= 1e-4 and worst[1] <= 1e-2):
        sys.exit('bench.py: not the same model; nothing to compare')


def measure(command, model, path, warm, timed):
    known = list(batches(path, model.logit_fc[3].out_features, warm + timed))
    lamb = Lamb(model.parameters())
    for i, batch in enumerate(known):
        if i == warm:
            start = time.perf_counter()
        if command == 'train':
            train(model.train(), lamb, batch, RATES['train'])
        else:
            with torch.inference_mode():
                model.eval()(*batch[:4]).argmax(1).tolist()
    print('%.2f' % (BATCH * timed / (time.perf_counter() - start)))


def main():
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    if sys.argv[1] == 'versions':
        print('PyTorch %s, with its own oneDNN and MKL; Python %s' % (torch.__version__, sys.version.split()[0]))
        return
    config, answers, tensors = checkpoint(sys.argv[2])
    model = Lxmert(config, answers)
    model.load_state_dict(tensors)
    if sys.argv[1] == 'check':
        check(model, *sys.argv[3:])
    else:
        measure(sys.argv[1], model, sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))


main()
