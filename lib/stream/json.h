/*
 * Records as lines of JSON, and back.
 *
 * Strings, numbers, arrays and maps with string keys are JSON's own. A bin field whose type is known (vqa-stream(5): boxes,
 * features, logits, gradient, tokens, attention's matrices) becomes {"f32": [numbers]}, {"f16": …} or {"i32": …}; any other
 * becomes {"bin": "base64"}. Numbers have as many digits as they need to come back the same; what is not finite is one of the
 * strings "nan", "inf", "-inf". {"f64": "inf"} is a lone number that is not finite. {"map": {…}} is a map that would be taken for
 * one of these. Bytes and keys come back as they were; a lone float32 comes back as the float64 of its digits.
 *
 * What JSON cannot say is an error on the way there: text that is not UTF-8, msgpack's extensions. On the way back integers
 * over 2^63 - 1 and a key that is there twice are.
 */
#ifndef VQA_STREAM_JSON_H
#define VQA_STREAM_JSON_H

#include <stdio.h>

#include "stream/record.h"

/* The reader's current record as one line. */
int json_from_record(FILE *out, const struct rec_in *in, struct err *err);
/* One line to a record; where ("stdin:3") begins each message. */
int json_to_record(struct rec_out *out, const char *line, size_t n, const char *where, struct err *err);

#endif
