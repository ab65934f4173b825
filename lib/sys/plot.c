/*
 * gnuplot, run without a shell.
 */
#include "sys/plot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sys/file.h"
#include "sys/utf8.h"

enum {
	NO_GNUPLOT = 127,
	SECONDS = 60,          /* that gnuplot may compute */
	MEMORY_MB = 2048,      /* that it may ask for */
	DRAWN_PIXELS = 1 << 22 /* of one to draw over: gnuplot keeps about 200 bytes a pixel */
};

const char *
plot_colour(int i)
{
	static const char *const colours[] = { "#0072B2", "#D55E00", "#009E73", "#CC79A7",
		                               "#E69F00", "#56B4E9", "#555555" };

	return colours[(size_t)i % (sizeof colours / sizeof *colours)];
}

static int
ends_with(const char *text, const char *end)
{
	size_t n = strlen(text), m = strlen(end);

	return n > m && !strcmp(text + n - m, end);
}

int
plot_open(struct plot *plot, const char *path, int width, int height, struct err *err)
{
	const char *terminal = ends_with(path, ".png")   ? "pngcairo"
	                       : ends_with(path, ".svg") ? "svg background rgb 'white'"
	                                                 : NULL;

	*plot = (struct plot){ .path = path, .picture = -1 };
	if (!terminal)
		return err_set(err, "%s: no name for a picture, expected one that ends with .png or .svg", path);
	plot->script = open_memstream(&plot->text, &plot->n);
	if (!plot->script)
		return err_set(err, "%s: out of memory for a picture", path);
	fprintf(plot->script, "set encoding utf8\nset terminal %s size %d,%d font 'Sans,10' noenhanced\n", terminal,
	        width, height);
	return 0;
}

void
plot_text(const struct plot *plot, const char *text, size_t n, size_t most)
{
	char line[512];

	utf8_quote(line, most < sizeof line ? most : sizeof line, text, n);
	fputc('\'', plot->script);
	for (const char *p = line; *p; p++)
		fprintf(plot->script, *p == '\'' ? "\u2019" : "%c", *p);
	fputc('\'', plot->script);
}

int
plot_take_picture(struct plot *plot, const char *path, struct err *err)
{
	uint8_t head[1 << 16];
	struct stat st;
	ssize_t n;

	plot->picture = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (plot->picture < 0)
		return err_sys(err, "%s: cannot open", path);
	if (fstat(plot->picture, &st) || !S_ISREG(st.st_mode))
		return err_set(err, "%s: no regular file, expected a PNG or JPEG picture", path);
	n = pread(plot->picture, head, sizeof head, 0);
	if (n < 0)
		return err_sys(err, "%s: cannot read", path);
	if (picture_size(head, (size_t)n, &plot->filetype, &plot->width, &plot->height, path, err))
		return -1;
	if ((int64_t)plot->width * plot->height > DRAWN_PIXELS)
		return err_set(err, "%s: %d x %d pixels, expected at most %d together", path, plot->width, plot->height,
		               DRAWN_PIXELS);
	return 0;
}

void
plot_draw_picture(const struct plot *plot)
{
	fprintf(plot->script, "'/dev/fd/3' binary filetype=%s with rgbimage", plot->filetype);
}

static void
limit(int resource, rlim_t most)
{
	setrlimit(resource, &(struct rlimit){ most, most });
}

/* The child: descriptors in their places, then gnuplot. */
static void
become_gnuplot(int script, int out, int said, int picture)
{
	limit(RLIMIT_CPU, SECONDS);
	limit(RLIMIT_AS, (rlim_t)MEMORY_MB << 20);
	limit(RLIMIT_CORE, 0);
	if (dup2(script, 0) >= 0 && dup2(out, 1) >= 0 && dup2(said, 2) >= 0 && (picture < 0 || dup2(picture, 3) >= 0)) {
		/* dup2 to itself keeps close-on-exec. */
		if (picture == 3)
			fcntl(3, F_SETFD, 0);
		execlp("gnuplot", "gnuplot", "-d", "-", (char *)NULL);
	}
	_exit(NO_GNUPLOT);
}

/* The first line of what gnuplot said that is words: it also points at places by carets. */
static void
first_words(int said, char words[256])
{
	char all[4096];
	ssize_t n = pread(said, all, sizeof all - 1, 0);

	words[0] = '\0';
	all[n > 0 ? n : 0] = '\0';
	for (char *rest = all, *line; (line = strsep(&rest, "\n"));) {
		line += strspn(line, " \t");
		if (strncmp(line, "line ", 5) == 0) {
			utf8_quote(words, 256, line, strlen(line));
			return;
		}
	}
}

/* Run it over the script; its words on a fault. */
static int
run(const struct plot *plot, int script, int out, int said, struct err *err)
{
	char words[256];
	int status;
	pid_t pid = fork();

	if (!pid)
		become_gnuplot(script, out, said, plot->picture);
	if (pid < 0)
		return err_sys(err, "gnuplot: cannot start");
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return err_sys(err, "gnuplot: cannot wait for it");
	if (WIFEXITED(status) && WEXITSTATUS(status) == NO_GNUPLOT)
		return err_set(err, "gnuplot was not found, and draws the pictures (Debian's package gnuplot-nox)");
	if (WIFSIGNALED(status))
		return err_set(err, "%s: gnuplot was ended by signal %d (it has %d seconds and %d MiB)", plot->path,
		               WTERMSIG(status), SECONDS, MEMORY_MB);
	first_words(said, words);
	if (status || lseek(out, 0, SEEK_END) <= 0)
		return err_set(err, "%s: gnuplot drew nothing: %s", plot->path, *words ? words : "it said nothing");
	return 0;
}

static int
draw(const struct plot *plot, struct err *err)
{
	int script = file_nameless(err), said = script < 0 ? -1 : file_nameless(err), bad = said < 0;
	struct new_file file;

	bad = bad || write_fully(script, plot->text, plot->n, "a temporary file", err);
	if (!bad && lseek(script, 0, SEEK_SET))
		bad = err_sys(err, "temporary file");
	bad = bad || new_file_open(&file, plot->path, err);
	if (!bad)
		bad = run(plot, script, file.fd, said, err) ? new_file_discard(&file) : new_file_commit(&file, err);
	if (script >= 0)
		close(script);
	if (said >= 0)
		close(said);
	return bad ? -1 : 0;
}

int
plot_close(struct plot *plot, struct err *err)
{
	int bad = ferror(plot->script) | fclose(plot->script);

	bad = bad ? err_set(err, "%s: out of memory for a picture", plot->path) : draw(plot, err);
	free(plot->text);
	if (plot->picture >= 0)
		close(plot->picture);
	return bad;
}

static int
number(const uint8_t *p, int bytes)
{
	int n = 0;

	while (bytes--)
		n = n << 8 | *p++;
	return n;
}

/* A JPEG's size is in its frame header; segments before that are passed over (ITU T.81, B.1 and B.2.2). */
static const uint8_t *
jpeg_frame(const uint8_t *p, size_t n)
{
	size_t at = 2;

	while (at + 9 <= n && p[at] == 0xff) {
		int marker = p[at + 1];

		if (marker == 0xff) {
			at++;
			continue;
		}
		if (marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc)
			return p + at + 5;
		at += 2 + (size_t)number(p + at + 2, 2);
	}
	return NULL;
}

int
picture_size(const void *data, size_t n, const char **kind, int *width, int *height, const char *name, struct err *err)
{
	static const uint8_t png[] = { 0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n', 0, 0, 0, 13, 'I', 'H', 'D', 'R' };
	const uint8_t *p = data, *frame;

	if (n >= 24 && !memcmp(p, png, sizeof png) && p[16] < 0x80 && p[20] < 0x80) {
		*kind = "png";
		*width = number(p + 16, 4);
		*height = number(p + 20, 4);
	} else if (n >= 4 && p[0] == 0xff && p[1] == 0xd8) {
		*kind = "jpeg";
		frame = jpeg_frame(p, n);
		if (!frame)
			return err_set(err, "%s: no frame header in its first %zu bytes, expected a JPEG picture", name,
			               n);
		*height = number(frame, 2);
		*width = number(frame + 2, 2);
	} else {
		return err_set(err, "%s: neither a PNG nor a JPEG picture", name);
	}
	return *width && *height ? 0 : err_set(err, "%s: a picture of %d x %d pixels", name, *width, *height);
}
