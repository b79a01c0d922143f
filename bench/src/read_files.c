/* `read_files FOLDER COUNT`: open, fstat, read to the end and close each of FOLDER/0 ... FOLDER/COUNT-1. Prints the bytes. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	static char buf[65536];
	char path[4096];
	long bytes = 0;

	if (argc != 3)
		return 64;
	for (int i = 0; i < atoi(argv[2]); i++) {
		struct stat st;
		ssize_t n;

		snprintf(path, sizeof(path), "%s/%d", argv[1], i);
		int fd = open(path, O_RDONLY);
		if (fd < 0 || fstat(fd, &st) < 0)
			return perror(path), 1;
		while ((n = read(fd, buf, sizeof(buf))) > 0)
			bytes += n;
		close(fd);
	}
	printf("%ld\n", bytes);
	return 0;
}
