// A source of names for nsswitch.conf as libnss_resolve is one: asks a service of this machine at the unix socket where
// systemd-resolved listens, and knows nothing else.

#include <errno.h>
#include <nss.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct gaih_addrtuple;

enum nss_status _nss_here_gethostbyname4_r(const char *name, struct gaih_addrtuple **found, char *buffer, size_t length,
					   int *error, int *host_error, int32_t *ttl);

enum nss_status _nss_here_gethostbyname4_r(const char *name, struct gaih_addrtuple **found, char *buffer, size_t length,
					   int *error, int *host_error, int32_t *ttl)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "/run/systemd/resolve/io.systemd.Resolve"};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)found, (void)buffer, (void)length, (void)host_error, (void)ttl;
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 && write(fd, name, strlen(name)) > 0)
		(void)!read(fd, &address, 1);
	if (fd >= 0)
		close(fd);
	*error = ENOENT;
	return NSS_STATUS_UNAVAIL;
}
