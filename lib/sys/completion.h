/*
 * What bash and zsh need to complete a program's command line, made of the table that also parses it.
 */
#ifndef VQA_SYS_COMPLETION_H
#define VQA_SYS_COMPLETION_H

#include "sys/opt.h"

#define COMPLETION_SHELLS "bash|zsh"

/* Print it for one of COMPLETION_SHELLS on stdout. `common` are the options that every program has. */
void completion_print(const char *shell, const struct program *program, const struct opt *common);

#endif
