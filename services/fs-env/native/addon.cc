// The functions of the addon, with the names and in the order of index.ts, which says what each of them promises.
#include <napi.h>
#include <sys/stat.h>

#include <cerrno>

#include "arguments.h"
#include "operations.h"
#include "watcher.h"

namespace fs_env {

namespace {

using SharedTarget = std::shared_ptr<Target>;

Napi::Value attached_value(Napi::Env env, const Attached &attached)
{
	Napi::Object result = Napi::Object::New(env);
	result.Set("errno", Napi::Number::New(env, attached.errno_value));
	result.Set("step", Napi::String::New(env, attached.step));
	result.Set("target", attached.target ? wrap_target(env, attached.target) : env.Null());
	result.Set("startTimeTicks", Napi::BigInt::New(env, attached.start_time_ticks));
	result.Set("environment",
		   Napi::Buffer<char>::Copy(env, attached.environment.data(), attached.environment.size()));
	return result;
}

Napi::Value attach_target(Arguments info)
{
	uint32_t pid = number_at(info, 0);
	uint64_t start_time_ticks = bigint_at(info, 1);
	uint32_t environment_bytes = number_at(info, 2);
	return run_task(info.Env(), [=]() -> Settle {
		// With our own rights: a worker may still have those of the target it served before.
		assume(own_credentials());
		auto attached = std::make_shared<Attached>(
		    attach(static_cast<pid_t>(pid), start_time_ticks, environment_bytes));
		return [attached](Napi::Env env) { return attached_value(env, *attached); };
	});
}

// Every operation has the rights of the target.
template <typename Operation>
Napi::Value run_as(Napi::Env env, SharedTarget target, Operation operation)
{
	return run_operation(env, [target = std::move(target), operation = std::move(operation)]() -> Reply {
		if (int error = assume(target->credentials()))
			return failed(error);
		return operation(*target);
	});
}

Napi::Value wait_for_end(Arguments info)
{
	SharedTarget target = target_at(info, 0);
	return wait_task(info.Env(), [&](std::function<void(Settle)> settle) {
		uint64_t watch = watch_end(target->pidfd, [settle](bool has_ended) {
			settle([has_ended](Napi::Env env) { return Napi::Boolean::New(env, has_ended); });
		});
		if (watch == 0)
			settle([](Napi::Env env) -> Napi::Value {
				throw Napi::Error::New(env, "the end of the target cannot be watched");
			});
		target->watches.push_back(watch);
	});
}

void close_target(Arguments info)
{
	SharedTarget target = target_at(info, 0);
	for (uint64_t watch : target->watches)
		forget(watch);
	target->watches.clear();
	close_target_at(info, 0);
}

Napi::Value open_at_path(Arguments info)
{
	OpenRequest request{bytes_at(info, 1), number_at(info, 2), number_at(info, 3), number_at(info, 4),
			    number_at(info, 5), boolean_at(info, 6)};
	return run_as(info.Env(), target_at(info, 0),
		      [request = std::move(request)](const Target &target) { return open_file(target, request); });
}

void close_file(Arguments info)
{
	close_file_at(info, 0);
}

Napi::Value read(Arguments info)
{
	return run_as(info.Env(), target_at(info, 0),
		      [file = file_at(info, 1), offset = bigint_at(info, 2), length = number_at(info, 3)](
			  const Target &) { return read_file(*file, offset, length); });
}

Napi::Value write(Arguments info)
{
	return run_as(info.Env(), target_at(info, 0),
		      [file = file_at(info, 1), offset = bigint_at(info, 2), data = bytes_at(info, 3)](const Target &) {
			      auto *bytes = reinterpret_cast<const uint8_t *>(data.data());
			      return write_file(*file, offset, bytes, data.size());
		      });
}

Napi::Value stat_of_path(Arguments info)
{
	return run_as(info.Env(), target_at(info, 0),
		      [path = bytes_at(info, 1), no_follow = boolean_at(info, 2)](const Target &target) {
			      return stat_path(target, path, no_follow);
		      });
}

Napi::Value stat_of_file(Arguments info)
{
	return run_as(info.Env(), target_at(info, 0),
		      [file = file_at(info, 1)](const Target &) { return stat_file(*file); });
}

Napi::Value stat_fs_of_path(Arguments info)
{
	return run_as(info.Env(), target_at(info, 0),
		      [path = bytes_at(info, 1)](const Target &target) { return stat_fs_path(target, path); });
}

Napi::Value stat_fs_of_file(Arguments info)
{
	return run_as(info.Env(), target_at(info, 0),
		      [file = file_at(info, 1)](const Target &) { return stat_fs_file(*file); });
}

Napi::Value read_dir(Arguments info)
{
	return run_as(info.Env(), target_at(info, 0),
		      [file = file_at(info, 1), cookie = bigint_at(info, 2), entries = number_at(info, 3)](
			  const Target &target) { return read_directory(target, *file, cookie, entries); });
}

Napi::Value read_link_at(Arguments info)
{
	return run_as(info.Env(), target_at(info, 0),
		      [path = bytes_at(info, 1)](const Target &target) { return read_link(target, path); });
}

Napi::Value access_at(Arguments info)
{
	return run_as(info.Env(), target_at(info, 0),
		      [path = bytes_at(info, 1), mode = number_at(info, 2), flags = number_at(info, 3)](
			  const Target &target) { return access_path(target, path, mode, flags); });
}

Napi::Value make_dir(Arguments info)
{
	return run_as(info.Env(), target_at(info, 0),
		      [path = bytes_at(info, 1), mode = number_at(info, 2)](const Target &target) {
			      return make_directory(target, path, mode);
		      });
}

Napi::Value remove_dir(Arguments info)
{
	return run_as(info.Env(), target_at(info, 0),
		      [path = bytes_at(info, 1)](const Target &target) { return remove_directory(target, path); });
}

Napi::Value unlink_at(Arguments info)
{
	return run_as(info.Env(), target_at(info, 0),
		      [path = bytes_at(info, 1)](const Target &target) { return unlink_path(target, path); });
}

Napi::Value rename_at(Arguments info)
{
	return run_as(info.Env(), target_at(info, 0),
		      [from = bytes_at(info, 1), to = bytes_at(info, 2), flags = number_at(info, 3)](
			  const Target &target) { return rename_path(target, from, to, flags); });
}

Napi::Value symlink_at(Arguments info)
{
	return run_as(info.Env(), target_at(info, 0),
		      [content = bytes_at(info, 1), path = bytes_at(info, 2)](const Target &target) {
			      return symlink_path(target, content, path);
		      });
}

Napi::Value link_at(Arguments info)
{
	return run_as(info.Env(), target_at(info, 0),
		      [from = bytes_at(info, 1), to = bytes_at(info, 2), flags = number_at(info, 3)](
			  const Target &target) { return link_path(target, from, to, flags); });
}

Attributes attributes_from(Arguments info, size_t index)
{
	return Attributes{optional_number_at(info, index),
			  optional_number_at(info, index + 1),
			  optional_number_at(info, index + 2),
			  optional_bigint_at(info, index + 3),
			  {time_at(info, index + 4), time_at(info, index + 5)}};
}

Napi::Value set_attributes_of_path(Arguments info)
{
	return run_as(info.Env(), target_at(info, 0),
		      [path = bytes_at(info, 1), no_follow = boolean_at(info, 2),
		       wanted = attributes_from(info, 3)](const Target &target) {
			      return set_attributes_path(target, path, no_follow, wanted);
		      });
}

Napi::Value set_attributes_of_file(Arguments info)
{
	return run_as(info.Env(), target_at(info, 0),
		      [file = file_at(info, 1), wanted = attributes_from(info, 2)](const Target &) {
			      return set_attributes_file(*file, wanted);
		      });
}

Napi::Value sync(Arguments info)
{
	return run_as(info.Env(), target_at(info, 0),
		      [file = file_at(info, 1), data_only = boolean_at(info, 2)](const Target &) {
			      return sync_file(*file, data_only);
		      });
}

template <auto function> void define(Napi::Env env, Napi::Object exports, const char *name)
{
	exports.Set(name, Napi::Function::New<function>(env, name));
}

Napi::Object start(Napi::Env env, Napi::Object exports)
{
	open_tasks(env);
	define<attach_target>(env, exports, "attach");
	define<wait_for_end>(env, exports, "waitForEnd");
	define<close_target>(env, exports, "closeTarget");
	define<open_at_path>(env, exports, "open");
	define<close_file>(env, exports, "closeFile");
	define<read>(env, exports, "read");
	define<write>(env, exports, "write");
	define<stat_of_path>(env, exports, "statPath");
	define<stat_of_file>(env, exports, "statFile");
	define<stat_fs_of_path>(env, exports, "statFsPath");
	define<stat_fs_of_file>(env, exports, "statFsFile");
	define<read_dir>(env, exports, "readDir");
	define<read_link_at>(env, exports, "readLink");
	define<access_at>(env, exports, "access");
	define<make_dir>(env, exports, "makeDir");
	define<remove_dir>(env, exports, "removeDir");
	define<unlink_at>(env, exports, "unlink");
	define<rename_at>(env, exports, "rename");
	define<symlink_at>(env, exports, "symlink");
	define<link_at>(env, exports, "link");
	define<set_attributes_of_path>(env, exports, "setAttributesPath");
	define<set_attributes_of_file>(env, exports, "setAttributesFile");
	define<sync>(env, exports, "sync");
	return exports;
}

} // namespace

} // namespace fs_env

static Napi::Object start_addon(Napi::Env env, Napi::Object exports)
{
	return fs_env::start(env, exports);
}

NODE_API_MODULE(fs_env, start_addon)
