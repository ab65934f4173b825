"""The model in PyTorch, as the reference runs it: every question padded to 20 tokens and 36 regions, every layer whole, entmax by
the bisection of the package entmax. Its optimizer, and what it reads: our checkpoints and streams."""
import json
import math
import struct

import msgpack
import torch
from entmax import entmax_bisect
from torch import nn
from torch.nn import functional as F

TOKENS, OBJECTS = 20, 36


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


def batches(path, answers, size, skip, count):
    """count whole batches of size questions, after skip such, padded: ids, mask, features, boxes, target."""
    unpacker = msgpack.Unpacker(open(path, 'rb'), raw=False, max_bin_len=1 << 26)
    floats = lambda b: torch.frombuffer(bytearray(b), dtype=torch.float32).view(OBJECTS, -1)
    for batch in range(skip + count):
        ids = torch.zeros(size, TOKENS, dtype=torch.int64)
        target = torch.zeros(size, answers)
        features, boxes = [], []
        while len(features) < size:
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
        if batch >= skip:
            yield ids, (ids != 0).float(), torch.stack(features), torch.stack(boxes), target


# --- The model, under the reference's parameter names.

class Alpha(nn.Module):
    def __init__(self, heads):
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(heads))


class Span(nn.Module):
    """An adaptive span's mask (models/adaptive_span.py); of several rows, their mean."""
    def __init__(self, c):
        super().__init__()
        self.current_val = nn.Parameter(torch.zeros(c['span_rows'], c['heads'], 1, 1))
        self.ramp = c['span_ramp']

    def forward(self, probs):
        n = probs.shape[3]
        value = self.current_val.mean(0, keepdim=True) * n
        probs = probs * ((torch.arange(1 - n, 1, dtype=value.dtype, device=value.device) + value) / self.ramp + 1).clamp(0, 1)
        return probs / (probs.sum(-1, keepdim=True) + 1e-8)


class Attend(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.heads = c['heads']
        self.query, self.key, self.value = (nn.Linear(c['hidden'], c['hidden']) for _ in range(3))
        self.entmax_alpha = Alpha(self.heads) if c['sparse'] else None
        self.adaptive_span = Span(c) if c['adaptive'] else None
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
        if self.adaptive_span is not None:
            probs = self.adaptive_span(probs)
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
        x = (self.word_embeddings(ids) + self.position_embeddings(torch.arange(ids.shape[1], device=ids.device).expand_as(ids)) +
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


def train(model, lamb, batch, rates, bf16=False):
    """One step; its loss and the gradient's norm before clipping. In bf16 as autocast has it."""
    with torch.autocast(batch[0].device.type, torch.bfloat16, enabled=bf16):
        logits = model(*batch[:4])
    loss = F.binary_cross_entropy_with_logits(logits.float(), batch[4]) * batch[4].shape[1]
    loss.backward()
    norm = nn.utils.clip_grad_norm_(lamb.params, 5.0)
    lamb.step(*rates)
    with torch.no_grad():
        for alpha in (m.alpha for m in model.modules() if isinstance(m, Alpha)):   # as vqa-step keeps them
            alpha.clamp_(1.01, 2)
    model.zero_grad(set_to_none=True)
    return loss.item(), norm.item()
