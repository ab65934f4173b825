/*
 * Records as lines of JSON, and back.
 *
 * Strings, numbers, arrays and maps with string keys are JSON's own. A bin field whose type is known (vqa-stream(5): boxes,
 * features, logits, gradient, tokens, attention's matrices) becomes {"f32": [numbers]}, {"f16": …} or {"i32": …}; any other
 * becomes {"bin": "base64"}. Numbers have as many digits as they need to come back the same; what is not finite is one of the
 * strings "nan", "-nan", "inf", "-inf"; bytes with any other pattern of a NaN are {"bin": …}. {"f64": "inf"} is a lone number that is
 * not finite, {"f32": 0.5} a lone float32, {"u64": "9223372036854775808"} an integer over JSON's int64. A map whose only key is
 * one of these names is {"map": {that map}}.
 *
 * What JSON cannot say is an error on the way there: text that is not UTF-8, msgpack's extensions.
 */
#ifndef VQA_STREAM_JSON_H
#define VQA_STREAM_JSON_H

#include <stdio.h>

#include "stream/record.h"

/* The reader's current record as one line, flushed: in a training pipeline somebody waits for it. */
int json_from_record(FILE *out, const struct rec_in *in, struct err *err);
/* One line to a record; where ("stdin:3") begins each message; *end: it was the end record. */
int json_to_record(struct rec_out *out, const char *line, size_t n, const char *where, int *end, struct err *err);

#endif
