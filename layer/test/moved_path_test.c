/* What is known by its path follows a rename of it or of a folder above it, and nothing else does. */
#include <stdlib.h>
#include <string.h>

#include "../moved_path.h"
#include "tap.h"

struct sample {
	const char *sentence, *path, *expected;
	bool is_exchange;
};

/* All of a rename of /srv/a to /srv/longer. */
static const struct sample samples[] = {
    {"the folder itself", "/srv/a", "/srv/longer", false},
    {"what lies below it", "/srv/a/in/b", "/srv/longer/in/b", false},
    {"a neighbour whose name begins alike stays", "/srv/ab", "/srv/ab", false},
    {"the folder above stays", "/srv", "/srv", false},
    {"what had the new name before stays", "/srv/longer/x", "/srv/longer/x", false},
    {"in an exchange the other one moves too", "/srv/longer/x", "/srv/a/x", true},
    {"in an exchange a path moves once", "/srv/a/x", "/srv/longer/x", true},
};

int main(void)
{
	static const char from[] = "/srv/a", to[] = "/srv/longer";

	for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
		struct move move = {.from = from,
				    .to = to,
				    .from_len = sizeof(from) - 1,
				    .to_len = sizeof(to) - 1,
				    .is_exchange = samples[i].is_exchange};
		char *path = strdup(samples[i].path);
		size_t len = strlen(path);

		moved_path_follow(&move, &path, &len);
		ok(len == strlen(samples[i].expected) && strcmp(path, samples[i].expected) == 0, samples[i].sentence);
		free(path);
	}
	return tap_done();
}
