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

#include "sys/ends.h"
#include "sys/file.h"
#include "sys/utf8.h"

enum {
	NO_GNUPLOT = 127,
	SECONDS = 60,           /* that gnuplot may compute */
	MEMORY_MB = 2048,       /* that it may ask for */
	DRAWN_PIXELS = 1 << 22, /* of one to draw over: gnuplot keeps about 200 bytes a pixel */
	DRAWN_BYTES = 1 << 26
};

const char *
plot_colour(int i)
{
	static const char *const colours[] = { "#0072B2", "#D55E00", "#009E73", "#CC79A7",
		                               "#E69F00", "#56B4E9", "#555555" };

	return colours[(size_t)i % (sizeof colours / sizeof *colours)];
}

int
plot_open(struct plot *plot, const char *path, int width, int height, struct err *err)
{
	const char *terminal = has_ending(path, ".png")   ? "pngcairo"
	                       : has_ending(path, ".svg") ? "svg background rgb 'white'"
	                                                  : NULL;

	*plot = (struct plot){ .path = path, .picture_fd = -1 };
	if (!terminal)
		return err_set(err, "%s: no name for a picture, expected one that ends with .png or .svg", path);
	plot->script = open_memstream(&plot->text, &plot->n);
	if (!plot->script)
		return err_set(err, "%s: out of memory for a picture", path);
	fprintf(plot->script, "set encoding utf8\nset terminal %s size %d,%d font 'Sans,10' noenhanced\n", terminal,
	        width, height);
	return 0;
}

/* Between single quotes; each per cent sign becomes `percent`. */
static void
put_quoted(const struct plot *plot, const char *text, size_t n, size_t most, const char *percent)
{
	char line[512];

	utf8_quote(line, most < sizeof line ? most : sizeof line, text, n);
	fputc('\'', plot->script);
	for (const char *p = line; *p; p++)
		if (*p == '\'')
			fputs("\u2019", plot->script);
		else if (*p == '%')
			fputs(percent, plot->script);
		else if (*p == '>' && p - line >= 2 && p[-1] == ']' && p[-2] == ']')
			fputs(" >", plot->script); /* what an SVG's text may not have, and gnuplot leaves as it is */
		else
			fputc(*p, plot->script);
	fputc('\'', plot->script);
}

void
plot_text(const struct plot *plot, const char *text, size_t n, size_t most)
{
	put_quoted(plot, text, n, most, "%");
}

void
plot_tic(const struct plot *plot, const char *text, size_t n, size_t most)
{
	put_quoted(plot, text, n, most, "%%");
}

int
plot_take_picture(struct plot *plot, const char *path, struct err *err)
{
	struct raster *raster = &plot->raster;
	char *bytes;
	struct stat st;
	size_t n;
	int bad;

	plot->picture_fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (plot->picture_fd < 0)
		return err_sys(err, "%s: cannot open", path);
	if (fstat(plot->picture_fd, &st) || !S_ISREG(st.st_mode))
		return err_set(err, "%s: no regular file, expected a PNG or JPEG picture", path);
	if (file_read(&bytes, &n, path, DRAWN_BYTES, "a PNG or JPEG picture", err))
		return -1;
	bad = raster_parse(raster, bytes, n, path, err);
	free(bytes);
	if (bad)
		return -1;
	if ((int64_t)raster->width * raster->height > DRAWN_PIXELS)
		return err_set(err, "%s: %d x %d pixels, expected at most %d together", path, raster->width,
		               raster->height, DRAWN_PIXELS);
	return 0;
}

void
plot_draw_picture(const struct plot *plot)
{
	fprintf(plot->script, "'/dev/fd/3' binary filetype=%s with rgbimage", plot->raster.kind);
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
		become_gnuplot(script, out, said, plot->picture_fd);
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

/* What gnuplot drew, to its place. Until now there was nothing that a kill could have left behind. */
static int
deliver(const struct plot *plot, int drawn, struct err *err)
{
	struct new_file file;
	char chunk[1 << 16];
	off_t at = 0;
	ssize_t got;
	int bad = 0;

	if (new_file_open(&file, plot->path, err))
		return -1;
	while (!bad && (got = pread(drawn, chunk, sizeof chunk, at)) > 0) {
		bad = new_file_write(&file, chunk, (size_t)got, err);
		at += got;
	}
	if (!bad && got < 0)
		bad = err_sys(err, "temporary file: cannot read");
	return bad ? new_file_discard(&file) : new_file_commit(&file, err);
}

enum { SCRIPT, DRAWN, SAID, FILES };

static int
draw(const struct plot *plot, struct err *err)
{
	int files[FILES], n = 0, bad;

	while (n < FILES && (files[n] = file_nameless(err)) >= 0)
		n++;
	bad = n < FILES || write_fully(files[SCRIPT], plot->text, plot->n, "a temporary file", err);
	if (!bad && lseek(files[SCRIPT], 0, SEEK_SET))
		bad = err_sys(err, "temporary file");
	bad = bad || run(plot, files[SCRIPT], files[DRAWN], files[SAID], err) || deliver(plot, files[DRAWN], err);
	while (n)
		close(files[--n]);
	return bad ? -1 : 0;
}

int
plot_close(struct plot *plot, struct err *err)
{
	int bad = ferror(plot->script) | fclose(plot->script);

	bad = bad ? err_set(err, "%s: out of memory for a picture", plot->path) : draw(plot, err);
	free(plot->text);
	if (plot->picture_fd >= 0)
		close(plot->picture_fd);
	return bad;
}
