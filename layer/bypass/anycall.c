/* syscall(3), by which libuv asks for statx. What is none of ours goes to the kernel exactly as in the C library. */
#include "bypass.h"

#include <fcntl.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../path_kind.h"

#define BIT(word, nr) ((nr) / 64 == (word) ? 1ul << ((nr) % 64) : 0ul)
#define WORD(word)                                                                                                     \
	(BIT(word, SYS_open) | BIT(word, SYS_stat) | BIT(word, SYS_lstat) | BIT(word, SYS_access) |                    \
	 BIT(word, SYS_readlink) | BIT(word, SYS_openat) | BIT(word, SYS_newfstatat) | BIT(word, SYS_readlinkat) |     \
	 BIT(word, SYS_faccessat) | BIT(word, SYS_faccessat2) | BIT(word, SYS_statx))

/* Of 64 numbers each: those that bypass_syscall knows. */
__attribute__((used)) const uint64_t bypass_numbers[] = {WORD(0), WORD(1), WORD(2), WORD(3), WORD(4), WORD(5), WORD(6)};

static struct bypass_path path_of(long nr, long a, long b, long c)
{
	switch (nr) {
	case SYS_open:
		return (struct bypass_path){AT_FDCWD, (const char *)a, open_writes((uint32_t)b)};
	case SYS_access:
		return (struct bypass_path){AT_FDCWD, (const char *)a, b & W_OK};
	case SYS_stat:
	case SYS_lstat:
	case SYS_readlink:
		return (struct bypass_path){AT_FDCWD, (const char *)a, false};
	case SYS_openat:
		return (struct bypass_path){(int)a, (const char *)b, open_writes((uint32_t)c)};
	case SYS_faccessat:
	case SYS_faccessat2:
		return (struct bypass_path){(int)a, (const char *)b, c & W_OK};
	default:
		return (struct bypass_path){(int)a, (const char *)b, false};
	}
}

__attribute__((used)) long bypass_syscall(long nr, long a, long b, long c, long d, long e)
{
	struct bypass_path path = path_of(nr, a, b, c);

	return bypass_result(bypass_call(&path, nr, a, b, c, d, e));
}

/* No frame of its own: vfork and clone by way of it behave as they do by way of the C library's. */
__asm__(".text\n"
	".globl syscall\n"
	".type syscall, @function\n"
	"syscall:\n"
	"	.cfi_startproc\n"
	"	cmpq $447, %rdi\n"
	"	ja 1f\n"
	"	btq %rdi, bypass_numbers(%rip)\n"
	"	jc bypass_syscall\n"
	"1:	movq %rdi, %rax\n"
	"	movq %rsi, %rdi\n"
	"	movq %rdx, %rsi\n"
	"	movq %rcx, %rdx\n"
	"	movq %r8, %r10\n"
	"	movq %r9, %r8\n"
	"	movq 8(%rsp), %r9\n"
	"	syscall\n"
	"	cmpq $-4095, %rax\n"
	"	jae 2f\n"
	"	ret\n"
	"2:	movq %rax, %rdi\n"
	"	jmp bypass_result\n"
	"	.cfi_endproc\n"
	".size syscall, .-syscall\n");
