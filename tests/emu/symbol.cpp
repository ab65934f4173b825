/*
 * Names of kernels, which are static functions: dladdr() does not know them, the symbol table of the file that they
 * were loaded from does. There too: the static variables of a function f, mangled _ZZ<f>E<name>; what a kernel can
 * write of them is shared memory. GCC 12 forgets the section of a template's variables, so those of a kernel template
 * are found here; those of a template that a kernel calls are not, and hold no NaN when a block begins.
 */
#include <cxxabi.h>
#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <map>
#include <string>
#include <vector>

#include "emu.h"

struct function {
	std::string name;
	size_t shared;
	std::vector<std::pair<char *, size_t>> elsewhere; /* shared memory outside of its section */
};

static void
read_symbols(struct function *f, const char *file, size_t size, char *loaded, size_t value)
{
	const ElfW(Ehdr) *head = (const ElfW(Ehdr) *)file;
	const ElfW(Shdr) *section = (const ElfW(Shdr) *)(file + head->e_shoff);
	const char *sections = file + section[head->e_shstrndx].sh_offset;
	std::string mangled, prefix;

	for (int i = 0; i < head->e_shnum; i++) {
		if (section[i].sh_type != SHT_SYMTAB || section[i].sh_offset + section[i].sh_size > size)
			continue;
		const ElfW(Sym) *symbol = (const ElfW(Sym) *)(file + section[i].sh_offset);
		const ElfW(Sym) *end = symbol + section[i].sh_size / sizeof *symbol;
		const char *names = file + section[section[i].sh_link].sh_offset;

		for (const ElfW(Sym) *s = symbol; s < end; s++)
			if ((s->st_info & 15) == STT_FUNC && s->st_value == value)
				mangled = names + s->st_name;
		if (mangled.compare(0, 2, "_Z"))
			continue;
		prefix = "_ZZ" + mangled.substr(2) + "E";
		for (const ElfW(Sym) *s = symbol; s < end; s++) {
			if ((s->st_info & 15) != STT_OBJECT || s->st_shndx >= head->e_shnum ||
			    !(section[s->st_shndx].sh_flags & SHF_WRITE) ||
			    strncmp(names + s->st_name, prefix.c_str(), prefix.size()))
				continue;
			f->shared += s->st_size;
			if (strcmp(sections + section[s->st_shndx].sh_name, "emu_shared"))
				f->elsewhere.emplace_back(loaded + s->st_value, s->st_size);
		}
	}
	if (!mangled.empty()) {
		int status;
		char *name = abi::__cxa_demangle(mangled.c_str(), NULL, NULL, &status);

		f->name = name ? name : mangled;
		free(name);
		/* Without the arguments' types, and without what a template returns. */
		f->name = f->name.substr(0, f->name.rfind('('));
		if (!f->name.compare(0, 5, "void "))
			f->name.erase(0, 5);
	}
}

static const struct function *
find(const void *address)
{
	static auto *known = new std::map<const void *, struct function>;
	struct function &f = (*known)[address];
	struct stat st;
	Dl_info info;
	struct link_map *map;
	char *file;
	char words[64];
	int fd;

	if (!f.name.empty())
		return &f;
	snprintf(words, sizeof words, "kernel at %p", address);
	if (dladdr1(address, &info, (void **)&map, RTLD_DL_LINKMAP) &&
	    (fd = open(*map->l_name ? map->l_name : "/proc/self/exe", O_RDONLY | O_CLOEXEC)) >= 0) {
		if (!fstat(fd, &st)) {
			file = (char *)mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
			if (file != MAP_FAILED) {
				read_symbols(&f, file, (size_t)st.st_size, (char *)map->l_addr,
				             (size_t)address - map->l_addr);
				munmap(file, (size_t)st.st_size);
			}
		}
		close(fd);
	}
	if (f.name.empty())
		f.name = words;
	return &f;
}

const char *
emu_function_name(const void *function)
{
	return find(function)->name.c_str();
}

size_t
emu_function_shared(const void *function)
{
	return find(function)->shared;
}

void
emu_function_fill(const void *function)
{
	for (auto [p, size] : find(function)->elsewhere)
		memset(p, 0xff, size);
}
