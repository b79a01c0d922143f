/* `map FILE`: maps the file and prints its length and the sum of its bytes, read backwards so that
 * no read-ahead helps. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct stat st;
	unsigned long sum = 0;

	if (argc != 2)
		return 64;
	int fd = open(argv[1], O_RDONLY);
	if (fd < 0 || fstat(fd, &st) < 0)
		return perror(argv[1]), 1;
	const unsigned char *bytes = mmap(NULL, st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (bytes == MAP_FAILED)
		return perror("mmap"), 1;
	close(fd);
	for (off_t i = st.st_size; i-- > 0;)
		sum += bytes[i];
	printf("%lld %lu\n", (long long)st.st_size, sum);
	return 0;
}
