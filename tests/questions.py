"""A question list of VQA 2.0's form and size, its annotations, and a stream of answers: the same bytes every time.

usage: questions.py [--questions N] [--reference | --annotations | --answers]
  --reference    the reference's list instead of VQA's own
  --annotations  VQA's annotations of these questions instead
  --answers      a stream of answers to them instead
By default 632,117 questions about 117,059 images, 5.4 each, as train, nominival and minival have together.
"""
import argparse
import json
import sys

WORDS = ("what color is the man wearing how many people are in this picture there a dog on left of right holding table "
         "woman sitting cat made kind animal shown behind train plate food sport being played boy street sign say").split()
ANSWERS = ("yes no 1 2 3 white red blue black tennis dog cat pizza man woman left right kitchen grass wood frisbee "
           "baseball skateboarding none nothing").split()
KINDS = (("yes/no", "is the"), ("number", "how many"), ("other", "what color is the"), ("other", "what is the"))


class Draws:
    """A multiplicative generator (Lehmer's, modulus 2^31 - 1), which is the same everywhere."""

    def __init__(self, seed):
        self.state = seed

    def below(self, n):
        self.state = self.state * 48271 % 2147483647
        return self.state % n


def questions(n):
    """(question id, image id, sentence, draws) of each."""
    for k in range(n):
        image, place = k * 5 // 27, k - (k * 5 // 27 * 27 + 4) // 5
        draws = Draws(k + 1)
        draws.below(2)
        words = [WORDS[draws.below(len(WORDS))] for _ in range(4 + draws.below(9))]
        yield (image + 9) * 1000 + place, image + 9, " ".join(words).capitalize() + "?", draws


def people(draws):
    """What ten people say: mostly the same."""
    most, other = ANSWERS[draws.below(len(ANSWERS))], ANSWERS[draws.below(len(ANSWERS))]
    said = [most if draws.below(10) < 7 else other for _ in range(9)]
    return most, said + [ANSWERS[draws.below(len(ANSWERS))]]


def annotation(question, image, draws):
    kind, form = KINDS[draws.below(len(KINDS))]
    most, said = people(draws)
    return {"question_type": form, "multiple_choice_answer": most,
            "answers": [{"answer": a, "answer_confidence": "yes", "answer_id": i + 1} for i, a in enumerate(said)],
            "image_id": image, "answer_type": kind, "question_id": question}


def labelled(question, image, sentence, draws):
    entry = annotation(question, image, draws)
    said = [a["answer"] for a in entry["answers"]]
    return {"answer_type": entry["answer_type"], "img_id": f"COCO_train2014_{image:012}",
            "label": {a: (0, 0.3, 0.6, 0.9)[said.count(a)] if said.count(a) < 4 else 1 for a in said},
            "question_id": question, "question_type": entry["question_type"], "sent": sentence}


def write_list(out, entries):
    for i, entry in enumerate(entries):
        out.write((", " if i else "") + json.dumps(entry))
    out.write("]")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--questions", type=int, default=632117)
    for form in ("reference", "annotations", "answers"):
        parser.add_argument(f"--{form}", action="store_true")
    args = parser.parse_args()
    every = questions(args.questions)
    out = sys.stdout
    if args.answers:
        import msgpack

        put = lambda record: out.buffer.write(msgpack.packb(record))
        put({"type": "header", "vqa": 1, "by": "questions.py"})
        for question, _, _, draws in every:
            put({"type": "answer", "id": question, "answer": ANSWERS[draws.below(len(ANSWERS))]})
        put({"type": "end", "questions": args.questions})
    elif args.annotations:
        out.write('{"info": {"version": "2.0"}, "data_subtype": "train2014", "annotations": [')
        write_list(out, (annotation(question, image, draws) for question, image, _, draws in every))
        out.write(', "data_type": "mscoco"}')
    elif args.reference:
        out.write("[")
        write_list(out, (labelled(*q) for q in every))
    else:
        out.write('{"info": {"version": "2.0"}, "task_type": "Open-Ended", "data_subtype": "train2014", "questions": [')
        write_list(out, ({"image_id": image, "question": sentence, "question_id": question}
                         for question, image, sentence, _ in every))
        out.write("}")


if __name__ == "__main__":
    main()
