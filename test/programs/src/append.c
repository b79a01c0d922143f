/*
 * `append FILE LINES`: two processes append LINES lines each to one file, one write(2) a line, each
 * through a descriptor of its own. O_APPEND promises that no line is lost or torn.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static int append(const char *path, int writer, int lines)
{
	char line[64];
	int fd = open(path, O_WRONLY | O_APPEND | O_CREAT, 0644);

	if (fd < 0)
		return perror(path), 1;
	for (int i = 0; i < lines; i++) {
		int len = snprintf(line, sizeof(line), "writer %d line %05d\n", writer, i);
		if (write(fd, line, len) != len)
			return perror("write"), 1;
	}
	return close(fd) < 0;
}

int main(int argc, char **argv)
{
	int failed = 0, status;

	if (argc != 3)
		return 64;
	for (int writer = 0; writer < 2; writer++)
		if (fork() == 0)
			_exit(append(argv[1], writer, atoi(argv[2])));
	while (wait(&status) > 0)
		failed |= status;
	return failed != 0;
}
