// The parts of the addon that know nothing of Node, under ASAN and UBSAN, as TAP. The target is this process; with root
// the rights of another user are tried as well.
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <thread>

#include "operations.h"
#include "pool.h"
#include "resolve.h"
#include "watcher.h"

using namespace fs_env;

static int count;
static int failures;

static void ok(bool passed, const char *name)
{
	count++;
	failures += !passed;
	printf("%sok %d - %s\n", passed ? "" : "not ", count, name);
}

// errno of a reply: field 1, a number of one or two bytes.
static int errno_of(const Reply &reply)
{
	if (reply.head.empty() || reply.head[0] != 0x08)
		return 0;
	auto byte = [&](size_t at) { return static_cast<unsigned char>(reply.head.at(at)); };
	return byte(1) < 0x80 ? byte(1) : (byte(1) & 0x7f) | byte(2) << 7;
}

static std::string make_folder()
{
	char name[] = "/tmp/mirrord-core-XXXXXX";
	if (mkdtemp(name) == nullptr)
		abort();
	char *real = realpath(name, nullptr);
	std::string result = real;
	free(real);
	return result;
}

static void remove_folder(const std::string &folder)
{
	std::string command = "rm -rf " + folder;
	if (system(command.c_str()) != 0)
		abort();
}

static void test_files(const Target &target, const std::string &folder)
{
	Reply created = open_file(target, {folder + "/file", O_RDWR | O_CREAT, 0600, 0, 3});
	ok(created.file && errno_of(created) == 0, "a file is made and its handle kept");
	std::string data(300000, 'x');
	auto *bytes = reinterpret_cast<const uint8_t *>(data.data());
	ok(errno_of(write_file(*created.file, 5, bytes, data.size())) == 0, "all is written");
	ok(read_file(*created.file, 5, 262144).data.size() == 262144, "a read is full");
	ok(read_file(*created.file, 300000, 262144).data.size() == 5, "the last read is short");
	ok(errno_of(read_file(*created.file, UINT64_MAX, 1)) == EINVAL, "an offset beyond all files is EINVAL");
	Reply whole = open_file(target, {folder + "/file", O_RDONLY, 0, 400000, 4});
	ok(!whole.file && whole.data.size() == 300005, "a small file comes whole and leaves no handle");
	Reply exact = open_file(target, {folder + "/file", O_RDONLY, 0, 300005, 4});
	ok(!exact.file && exact.data.size() == 300005, "the limit is inclusive");
	Reply large = open_file(target, {folder + "/file", O_RDONLY, 0, 300004, 4});
	ok(large.file && large.data.empty(), "a larger file leaves a handle");
	Reply unsized = open_file(target, {"/proc/self/maps", O_RDONLY, 0, 262144, 4});
	ok(unsized.data.size() > 100 || errno_of(unsized) == ELOOP, "a file without a size is read to its end");
	Reply cut = open_file(target, {"/proc/self/maps", O_RDONLY, 0, 50, 4});
	ok(cut.file && cut.data.empty(), "one that turns out larger leaves a handle");
	ok(errno_of(open_file(target, {folder, O_WRONLY, 0, 0, 5})) == EISDIR, "a folder is not written");
}

static void test_special_files(const Target &target, const std::string &folder)
{
	std::string fifo = folder + "/fifo";
	if (mkfifo(fifo.c_str(), 0600) != 0)
		abort();
	Reply reading = open_file(target, {fifo, O_RDONLY, 0, 1000, 6});
	ok(reading.file && errno_of(read_file(*reading.file, 0, 10)) == 0, "a pipe is opened without its other end");
	Reply writing = open_file(target, {fifo, O_WRONLY, 0, 0, 7});
	const uint8_t word[] = {'w'};
	ok(writing.file && errno_of(write_file(*writing.file, 0, word, 1)) == 0, "a pipe takes bytes");
	ok(read_file(*reading.file, 0, 10).data.size() == 1, "and gives them");
	reading.file.reset();
	ok(errno_of(open_file(target, {fifo, O_WRONLY, 0, 0, 7})) == ENXIO, "nobody reads it: ENXIO, and no waiting");
	ok(open_file(target, {"/dev/null", O_RDWR, 0, 1000, 8}).file != nullptr, "null is opened");
	Reply zero = open_file(target, {"/dev/zero", O_RDONLY, 0, 1000, 8});
	ok(zero.file && read_file(*zero.file, 0, 1000).data.size() == 1000, "zero is opened and gives zeros");
	ok(errno_of(open_file(target, {"/dev/tty", O_RDONLY, 0, 0, 8})) == EACCES ||
	       access("/dev/tty", F_OK) != 0, "a terminal is not");
}

static void test_directory(const Target &target, const std::string &folder)
{
	std::string many = folder + "/many";
	mkdir(many.c_str(), 0700);
	for (int i = 0; i < 3000; i++) {
		int fd = open((many + "/" + std::string(200, 'n') + std::to_string(i)).c_str(), O_CREAT | O_WRONLY, 0600);
		close(fd);
	}
	Reply opened = open_file(target, {many, O_RDONLY | O_DIRECTORY, 0, 0, 9});
	Reply page = read_directory(target, *opened.file, 0, 1000);
	ok(page.head.size() > 50000 && page.head.size() <= 131072, "a page of long names keeps within a head");
	ok(read_directory(target, *opened.file, 0, 1).head.size() < 200, "one entry is one entry");
	ok(errno_of(read_directory(target, *opened.file, 0, 0)) == EINVAL, "no entries is EINVAL");
	Reply file = open_file(target, {folder + "/file", O_RDONLY, 0, 0, 9});
	ok(errno_of(read_directory(target, *file.file, 0, 10)) == ENOTDIR, "a file has no entries");
}

static void test_rights(const Target &target, const std::string &folder)
{
	if (geteuid() != 0) {
		ok(true, "rights of another user # SKIP needs root");
		return;
	}
	std::string secret = folder + "/secret";
	close(open(secret.c_str(), O_CREAT | O_WRONLY, 0600));
	chmod(folder.c_str(), 0755);
	bool refused = false, allowed = false, powerless = false, grouped = false,
	     contained = false;
	std::thread([&] {
		separate_thread();
		assume(Credentials{1234, 1234, {}, 0});
		refused = errno_of(open_file(target, {secret, O_RDONLY, 0, 0, 1})) == EACCES;
		assume(own_credentials());
		allowed = chown(secret.c_str(), 5, 77) == 0 && chmod(secret.c_str(), 0640) == 0 &&
			  errno_of(open_file(target, {secret, O_RDONLY, 0, 0, 1})) == 0;
		assume(Credentials{1234, 1234, {}, 0});
		// Both are asked for by euid and by capabilities that are not about files.
		contained = open("/proc/sys/kernel/core_pattern", O_WRONLY | O_CLOEXEC) < 0 && errno == EACCES &&
			    open("/proc/1/environ", O_RDONLY | O_CLOEXEC) < 0 && errno == EACCES;
		assume(Credentials{0, 0, {}, 0});
		powerless = errno_of(open_file(target, {secret, O_RDONLY, 0, 0, 1})) == EACCES;
		assume(Credentials{1234, 1234, {77}, 0});
		grouped = errno_of(open_file(target, {secret, O_RDONLY, 0, 0, 1})) == 0;
	}).join();
	ok(refused, "another user's file is refused");
	ok(allowed, "our own rights come back");
	ok(grouped, "groups count");
	ok(contained, "neither settings of the kernel nor other processes are open to a user without rights to them");
	ok(powerless, "a root without capabilities is a user like others");
	struct stat st;
	ok(geteuid() == 0 && stat(secret.c_str(), &st) == 0, "other threads keep their rights");
}

static void test_pool_and_watcher()
{
	std::mutex mutex;
	std::condition_variable changed;
	int done = 0;
	for (int i = 0; i < 1000; i++)
		run_in_pool([&] {
			std::lock_guard lock(mutex);
			done++;
			changed.notify_all();
		});
	std::unique_lock lock(mutex);
	ok(changed.wait_for(lock, std::chrono::seconds(20), [&] { return done == 1000; }), "all work is done");
	lock.unlock();

	pid_t child = fork();
	if (child == 0)
		for (;;)
			pause();
	Attached attached = attach(child, 0, 0);
	ok(attached.target != nullptr, "a child is attached to");
	int told = 0;
	auto tell = [&](bool has_ended) {
		std::lock_guard guard(mutex);
		told += has_ended ? 1 : 100;
		changed.notify_all();
	};
	uint64_t forgotten = watch_end(attached.target->pidfd, tell);
	watch_end(attached.target->pidfd, tell);
	forget(forgotten);
	forget(forgotten);
	kill(child, SIGKILL);
	lock.lock();
	ok(changed.wait_for(lock, std::chrono::seconds(20), [&] { return told == 101; }), "its end is told, once");
	lock.unlock();
	waitpid(child, nullptr, 0);
	ok(attach(child, 0, 0).errno_value == ESRCH, "what has ended is not there");
}

int main()
{
	std::string folder = make_folder();
	Attached attached = attach(getpid(), 0, 1 << 20);
	ok(attached.target && !attached.environment.empty(), "this process is attached to");
	ok(attach(getpid(), attached.start_time_ticks, 0).target != nullptr, "it is the one that was meant");
	ok(attach(getpid(), attached.start_time_ticks + 1, 0).errno_value == ESRCH, "it is not another one");
	test_files(*attached.target, folder);
	test_special_files(*attached.target, folder);
	test_directory(*attached.target, folder);
	test_rights(*attached.target, folder);
	test_pool_and_watcher();
	remove_folder(folder);
	printf("1..%d\n", count);
	return failures == 0 ? 0 : 1;
}
