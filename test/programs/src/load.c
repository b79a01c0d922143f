/* `load LIBRARY`: loads a library by its path and prints what its `answer` says. */
#include <dlfcn.h>
#include <stdio.h>

int main(int argc, char **argv)
{
	if (argc != 2)
		return 64;
	void *library = dlopen(argv[1], RTLD_NOW);
	if (!library)
		return fprintf(stderr, "%s\n", dlerror()), 1;
	int (*answer)(void) = (int (*)(void))dlsym(library, "answer");
	if (!answer)
		return fprintf(stderr, "%s\n", dlerror()), 1;
	printf("%d\n", answer());
	return 0;
}
