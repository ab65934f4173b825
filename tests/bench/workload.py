"""The questions that are asked: VQA's shape, 5.4 an image in the images' order, of 5 to 17 tokens, 9.6 on average."""
import array
import random

import msgpack

OBJECTS = 36


def records(questions, features, answers):
    """Records of the stream between its header and its end: images, and questions with 1 to 3 answers of 10 people's."""
    draw = random.Random(1)
    pool = array.array('f', (draw.gauss(0, 1) for _ in range(1 << 20))).tobytes()
    size = 4 * OBJECTS * features
    left = 0
    for q in range(questions):
        if not left:
            left = 5 + (draw.random() < 0.4)
            image = 'image %d' % q
            start = 4 * draw.randrange((len(pool) - size) // 4)
            corners = [sorted(draw.random() for _ in range(2)) for _ in range(2 * OBJECTS)]
            boxes = array.array('f', (v for (x1, x2), (y1, y2) in zip(corners[::2], corners[1::2]) for v in (x1, y1, x2, y2)))
            yield {'type': 'image', 'id': image, 'n': OBJECTS, 'width': 640, 'height': 480, 'boxes': boxes.tobytes(),
                   'features': pool[start:start + size]}
        left -= 1
        n = 5 + sum(draw.random() < 4.6 / 12 for _ in range(12))
        tokens = array.array('i', [101] + [draw.randrange(1000, 30522) for _ in range(n - 2)] + [102])
        label = {str(draw.randrange(answers)): score for score in (1.0, 0.6, 0.3)[:draw.randrange(1, 4)]}
        yield {'type': 'question', 'id': q, 'image': image, 'sent': '', 'tokens': tokens.tobytes(), 'label': label}


def pack(record):
    return msgpack.packb(record, use_bin_type=True)


def header(questions):
    return pack({'type': 'header', 'vqa': 1, 'by': 'bench', 'questions': questions})


def write(path, questions, features, answers):
    with open(path, 'wb') as out:
        out.write(header(questions))
        for record in records(questions, features, answers):
            out.write(pack(record))
        out.write(pack({'type': 'end', 'questions': questions}))


def read(path):
    with open(path, 'rb') as stream:
        yield from msgpack.Unpacker(stream, raw=False, max_bin_len=1 << 26)


def shape(path, batch, skip, count):
    """Of count batches after skip: mean tokens of a question, and images of a batch (one that runs into the next counts there, too)."""
    tokens, images, q, image = 0, 0, 0, None
    for r in read(path):
        if r['type'] == 'question':
            where = q // batch
            q += 1
            if skip <= where < skip + count:
                tokens += len(r['tokens']) // 4
                images += (where, r['image']) != image
            image = where, r['image']
    return tokens / (batch * count), images / count


def table(path, stream):
    """The stream's images as the reference's table of features, for vqa-featpack."""
    from base64 import b64encode
    with open(path, 'w') as out:
        for r in read(stream):
            if r['type'] == 'image':
                boxes = array.array('f', r['boxes'])
                pixels = array.array('f', (v * (640, 480)[i % 2] for i, v in enumerate(boxes)))
                columns = [bytes(8 * OBJECTS), bytes(4 * OBJECTS), bytes(8 * OBJECTS), bytes(4 * OBJECTS)]
                text = [b64encode(c).decode() for c in columns]
                print(r['id'], 480, 640, *text, OBJECTS, *(b64encode(c).decode() for c in (pixels.tobytes(), r['features'])),
                      sep='\t', file=out)


def without_images(path, stream):
    with open(path, 'wb') as out:
        for r in read(stream):
            if r['type'] != 'image':
                out.write(pack(r))
