/*
 * The questions every language asks, through libc: `questions FOLDER` prints a variable of the
 * target's, a file's text, its stat, the folder's listing, and the errno of a file that is not
 * there. Built dynamic, static with glibc, static with musl.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int main(int argc, char **argv)
{
	char path[4096], text[256], *names[64];
	struct stat st;
	int count = 0;

	if (argc != 2)
		return 64;
	const char *mode = getenv("SHOP_MODE");
	printf("env=%s\n", mode ? mode : "");

	snprintf(path, sizeof(path), "%s/hello.txt", argv[1]);
	FILE *file = fopen(path, "r");
	if (!file || !fgets(text, sizeof(text), file))
		return perror(path), 1;
	fclose(file);
	text[strcspn(text, "\n")] = 0;
	printf("text=%s\n", text);

	if (stat(path, &st) < 0)
		return perror(path), 1;
	printf("stat=%lld %o %lld\n", (long long)st.st_size, st.st_mode & 07777,
	       (long long)st.st_mtime);

	DIR *dir = opendir(argv[1]);
	if (!dir)
		return perror(argv[1]), 1;
	for (struct dirent *entry; (entry = readdir(dir)) && count < 64;)
		if (entry->d_name[0] != '.')
			names[count++] = strdup(entry->d_name);
	closedir(dir);
	qsort(names, count, sizeof(*names), by_name);
	printf("list=");
	for (int i = 0; i < count; i++)
		printf("%s%s", i ? "," : "", names[i]);
	printf("\n");

	snprintf(path, sizeof(path), "%s/missing.txt", argv[1]);
	file = fopen(path, "r");
	printf("missing=%d\n", file ? 0 : errno);
	return 0;
}
