/* `forks FILE`: 100 children at once read the file's first line and compare it with the parent's.
 */
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int first_line(const char *path, char *line, int size)
{
	FILE *file = fopen(path, "r");

	if (!file || !fgets(line, size, file))
		return perror(path), 1;
	fclose(file);
	return 0;
}

int main(int argc, char **argv)
{
	char line[256], again[256];
	int good = 0, status;

	if (argc != 2 || first_line(argv[1], line, sizeof(line)))
		return 64;
	for (int i = 0; i < 100; i++)
		if (fork() == 0)
			_exit(first_line(argv[1], again, sizeof(again)) || strcmp(line, again));
	while (wait(&status) > 0)
		good += status == 0;
	printf("%d\n", good);
	return good != 100;
}
