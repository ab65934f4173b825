/*
 * Results: any bytes as a file of answers to two questions, held against labels and against annotations. What is accepted has
 * points from 0 to 1 and means that are those of its points.
 */
#include "fuzz.h"
#include "text/score.h"

static const char labels[] =
	"[{\"question_id\":1,\"img_id\":1,\"sent\":\"\",\"label\":{\"red\":1,\"blue\":0.3},\"answer_type\":\"other\"},"
	"{\"question_id\":2,\"img_id\":1,\"sent\":\"\",\"label\":{\"yes\":0.9}}]";
static const char annotations[] =
	"[{\"question_id\":1,\"question_type\":\"what\",\"answer_type\":\"other\",\"answers\":[{\"answer\":\"red\"},"
	"{\"answer\":\"Red.\"},{\"answer\":\"blue\"}]},"
	"{\"question_id\":2,\"question_type\":\"is\",\"answer_type\":\"yes/no\",\"answers\":[{\"answer\":\"yes\"}]}]";

static void
check(struct truth *truth, char *path)
{
	struct err err = { "" };
	struct mean mean;
	double points[2];

	if (score_file(points, truth, path, &err)) {
		must_say(err.text);
		return;
	}
	must(points[0] >= 0 && points[0] <= 1 && points[1] >= 0 && points[1] <= 1);
	score_means(&mean, truth, PART_ALL, points);
	must(mean.count == 2 && mean_of(&mean) == (points[0] + points[1]) / 2);
}

/* Held against the file of these bytes. */
static void
check_by(const char *text, size_t n, char *path, int official)
{
	int fd = memory_file(text, n);
	char name[64], *names[] = { name };
	struct truth truth;
	struct err err;

	memory_path(name, fd);
	must((official ? truth_open_annotations(&truth, names, 1, &err) : truth_open_labels(&truth, name, &err)) == 0);
	check(&truth, path);
	truth_close(&truth);
	close(fd);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int fd = memory_file(data, size);
	char path[64];

	memory_path(path, fd);
	check_by(labels, sizeof labels - 1, path, 0);
	check_by(annotations, sizeof annotations - 1, path, 1);
	close(fd);
	return 0;
}
