"""How this folder was made, with transformers 4.57.6 and torch 2.15.0 on the CPU: make.py FOLDER. No test runs it."""
import sys

import torch
from safetensors.torch import save_file
from transformers import LxmertConfig, LxmertForQuestionAnswering

answers = ['yes', 'no', '2', 'red', 'dark blue', 'left', 'tennis racket', 'café', 'gray', 'man', 'a "b"']
folder = sys.argv[1]
torch.manual_seed(7)
config = LxmertConfig(
    vocab_size=60, hidden_size=32, num_attention_heads=4, num_qa_labels=11, intermediate_size=64, max_position_embeddings=24,
    l_layers=2, x_layers=2, r_layers=1, visual_feat_dim=24, initializer_range=0.2, num_object_labels=7, num_attr_labels=5,
    id2label=dict(enumerate(answers)), label2id={a: i for i, a in enumerate(answers)})
model = LxmertForQuestionAnswering(config).eval()
for name, p in model.named_parameters():  # biases and norms away from where they begin
    if name.endswith('bias'):
        p.data.normal_(0, .1)
    elif 'LayerNorm' in name or 'layer_norm' in name or 'logit_fc.2' in name:
        p.data.normal_(1, .1)
model.save_pretrained(folder)

ids, mask = torch.zeros(3, 8, dtype=torch.int64), torch.zeros(3, 8, dtype=torch.int64)
for b, n in enumerate([8, 5, 3]):
    ids[b, :n] = torch.randint(4, 60, (n,))
    ids[b, 0], ids[b, n - 1] = 2, 3
    mask[b, :n] = 1
features = torch.randn(3, 6, 24).relu()
boxes = torch.cat([torch.rand(3, 6, 2) * .5, torch.rand(3, 6, 2) * .5 + .5], -1)
with torch.no_grad():
    logits = model(input_ids=ids, attention_mask=mask, token_type_ids=torch.zeros_like(ids), visual_feats=features,
                   visual_pos=boxes).question_answering_score
save_file({'1.ids': ids.int(), '1.mask': mask.float(), '1.features': features, '1.boxes': boxes, '1.target': torch.zeros(3, 11)},
          folder + '/in.safetensors')
save_file({'1.logits': logits}, folder + '/out.safetensors')
