/* `list FOLDER`: counts a folder's entries and adds up the sizes that fstatat tells of each. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

int main(int argc, char **argv)
{
	long count = 0;
	long long size = 0;
	struct stat st;

	if (argc != 2)
		return 64;
	DIR *dir = opendir(argv[1]);
	if (!dir)
		return perror(argv[1]), 1;
	for (struct dirent *entry; (entry = readdir(dir));) {
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		if (fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			return perror(entry->d_name), 1;
		count++;
		size += st.st_size;
	}
	closedir(dir);
	printf("%ld %lld\n", count, size);
	return 0;
}
