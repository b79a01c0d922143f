// The functions of the addon, with the names and in the order of index.ts, which says what each of them promises.
#include <napi.h>

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <memory>

#include "capture.h"

namespace sniffer {

namespace {

using Arguments = const Napi::CallbackInfo &;

// A batch on its way to JavaScript; taken when it is gone, whatever became of it.
struct Delivery {
	Delivery(std::shared_ptr<Backlog> backlog, std::vector<uint8_t> bytes)
	    : bytes(std::move(bytes)), backlog_(std::move(backlog)), size_(this->bytes.size())
	{
	}
	~Delivery() { backlog_->taken(size_); }
	Delivery(const Delivery &) = delete;
	Delivery &operator=(const Delivery &) = delete;

	std::vector<uint8_t> bytes;

      private:
	std::shared_ptr<Backlog> backlog_;
	size_t size_;
};

// What JavaScript holds. The thread ends before its way to JavaScript does.
struct Handle {
	std::unique_ptr<Capture> capture;
	Napi::ThreadSafeFunction on_batch;

	void close()
	{
		if (capture == nullptr)
			return;
		capture.reset();
		on_batch.Abort();
	}
	~Handle() { close(); }
};

constexpr napi_type_tag HANDLE_TAG = {0x6d6972726f726473ull, 0x6e69666665720001ull};

// Without an environment everything ends, and what was on its way is dropped.
void deliver(Napi::Env env, Napi::Function on_batch, Delivery *delivery)
{
	std::unique_ptr<Delivery> owned(delivery);
	if (env == nullptr || on_batch == nullptr)
		return;
	auto *bytes = new std::vector<uint8_t>(std::move(owned->bytes));
	auto buffer = Napi::Buffer<uint8_t>::New(
	    env, bytes->data(), bytes->size(), [](Napi::Env, uint8_t *, std::vector<uint8_t> *made) { delete made; },
	    bytes);
	on_batch.Call({buffer});
}

Handle &handle_at(Arguments info)
{
	auto external = info[0].As<Napi::External<Handle>>();
	if (!info[0].IsExternal() || !external.CheckTypeTag(&HANDLE_TAG))
		throw Napi::TypeError::New(info.Env(), "argument 0 is no capture");
	if (external.Data()->capture == nullptr)
		throw Napi::Error::New(info.Env(), "the capture is closed");
	return *external.Data();
}

uint64_t number_of(Napi::Object from, const char *name)
{
	Napi::Value value = from.Get(name);
	if (!value.IsNumber())
		throw Napi::TypeError::New(from.Env(), std::string(name) + " is no number");
	double number = value.As<Napi::Number>().DoubleValue();
	if (!(number >= 0 && number <= 9007199254740991.0))
		throw Napi::RangeError::New(from.Env(), std::string(name) + " is out of range");
	return static_cast<uint64_t>(number);
}

CaptureOptions options_from(Napi::Object from)
{
	CaptureOptions options;
	options.wants_ebpf = from.Get("wantsEbpf").ToBoolean();
	options.wants_taps = from.Get("wantsTaps").ToBoolean();
	options.ring.blocks = static_cast<uint32_t>(number_of(from, "ringBytes") / options.ring.block_bytes);
	options.ring.retire_ms = static_cast<uint32_t>(number_of(from, "retireMs"));
	options.bulk_bytes_per_second = number_of(from, "bulkBytesPerSecond");
	options.tracker.most_flows = number_of(from, "flows");
	options.budget.most_bytes = number_of(from, "heldBytes");
	options.budget.most_bytes_of_stream = number_of(from, "heldBytesOfStream");
	// The thread closes its own: JavaScript may close the other at any time.
	options.namespace_fd = fcntl(static_cast<int>(number_of(from, "namespaceFd")), F_DUPFD_CLOEXEC, 0);
	return options;
}

// (options, onBatch)
Napi::Value open_capture(Arguments info)
{
	Napi::Env env = info.Env();
	CaptureOptions options = options_from(info[0].As<Napi::Object>());
	Napi::Object result = Napi::Object::New(env);
	const char *step = "namespace";
	int error = options.namespace_fd < 0 ? EBADF : 0;
	auto handle = std::make_unique<Handle>();
	if (error == 0) {
		auto backlog = std::make_shared<Backlog>(number_of(info[0].As<Napi::Object>(), "waitingBytes"));
		handle->on_batch = Napi::ThreadSafeFunction::New(env, info[1].As<Napi::Function>(), "capture", 0, 1);
		auto on_batch = [function = handle->on_batch, backlog](std::vector<uint8_t> bytes) {
			auto *delivery = new Delivery(backlog, std::move(bytes));
			if (function.NonBlockingCall(delivery, deliver) != napi_ok)
				delete delivery;
		};
		handle->capture = std::make_unique<Capture>(options, backlog, on_batch);
		error = handle->capture->start(&step);
	}
	result.Set("errno", Napi::Number::New(env, error));
	result.Set("step", Napi::String::New(env, error == 0 ? "" : step));
	if (error != 0) {
		result.Set("capture", env.Null());
		return result;
	}
	result.Set("isEbpf", Napi::Boolean::New(env, handle->capture->is_ebpf()));
	result.Set("hasTaps", Napi::Boolean::New(env, handle->capture->has_taps()));
	result.Set("refusal", Napi::String::New(env, handle->capture->refusal()));
	auto external =
	    Napi::External<Handle>::New(env, handle.release(), [](Napi::Env, Handle *owned) { delete owned; });
	external.TypeTag(&HANDLE_TAG);
	result.Set("capture", external);
	return result;
}

capture_rule rule_from(Napi::Object from)
{
	capture_rule rule{};
	rule.sample_per_million = static_cast<uint32_t>(number_of(from, "samplePerMillion"));
	rule.connection_bytes = number_of(from, "connectionBytes");
	rule.bytes_per_second = number_of(from, "bytesPerSecond");
	if (from.Get("wantsAnswers").ToBoolean())
		rule.flags |= CAPTURE_ANSWERS;
	if (rule.bytes_per_second > 0)
		rule.flags |= CAPTURE_RATE;
	auto prefixes = from.Get("requestPrefixes").As<Napi::Array>();
	if (prefixes.Length() == 0)
		return rule;
	if (prefixes.Length() > CAPTURE_MAX_PREFIXES)
		throw Napi::RangeError::New(from.Env(), "too many requestPrefixes");
	rule.flags |= CAPTURE_PREFILTER;
	rule.prefix_count = prefixes.Length();
	for (uint32_t at = 0; at < prefixes.Length(); at++) {
		std::string text = prefixes.Get(at).As<Napi::String>();
		if (text.empty() || text.size() > CAPTURE_PREFIX_BYTES)
			throw Napi::RangeError::New(from.Env(), "a request prefix is too long");
		capture_prefix &prefix = rule.prefixes[at];
		prefix.is_path = text[0] == ' ';
		memcpy(prefix.words, text.data(), text.size());
		memset(prefix.masks, 0xff, text.size());
	}
	return rule;
}

// (capture, protocol, port, rule) -> errno
Napi::Value set_port(Arguments info)
{
	Handle &handle = handle_at(info);
	PortRule rule;
	rule.protocol = static_cast<uint8_t>(info[1].As<Napi::Number>().Uint32Value());
	rule.port = static_cast<uint16_t>(info[2].As<Napi::Number>().Uint32Value());
	auto from = info[3].As<Napi::Object>();
	rule.rule = rule_from(from);
	uint8_t wishes = Tracker::WATCHED;
	if (rule.rule.flags & CAPTURE_ANSWERS)
		wishes |= Tracker::ANSWERS;
	if (rule.rule.flags & CAPTURE_PREFILTER)
		wishes |= Tracker::PREFILTERED;
	if (from.Get("fromAnywhere").ToBoolean())
		wishes |= Tracker::FROM_ANYWHERE;
	return Napi::Number::New(info.Env(), handle.capture->set_port(rule, wishes));
}

// (capture, protocol, port) -> packets, connections and bytes; requests
Napi::Value lost_of(Arguments info)
{
	Handle &handle = handle_at(info);
	auto protocol = static_cast<uint8_t>(info[1].As<Napi::Number>().Uint32Value());
	auto port = static_cast<uint16_t>(info[2].As<Napi::Number>().Uint32Value());
	Passed lost = handle.capture->lost_of(protocol, port);
	Napi::Object result = Napi::Object::New(info.Env());
	result.Set("packets", Napi::Number::New(info.Env(), static_cast<double>(lost.packets)));
	result.Set("connections", Napi::Number::New(info.Env(), static_cast<double>(lost.connections)));
	result.Set("bytes", Napi::Number::New(info.Env(), static_cast<double>(lost.bytes)));
	result.Set("leftOut", Napi::Number::New(info.Env(), static_cast<double>(lost.left_out)));
	return result;
}

// (capture, protocol, port) -> errno
Napi::Value remove_port(Arguments info)
{
	Handle &handle = handle_at(info);
	auto protocol = static_cast<uint8_t>(info[1].As<Napi::Number>().Uint32Value());
	auto port = static_cast<uint16_t>(info[2].As<Napi::Number>().Uint32Value());
	return Napi::Number::New(info.Env(), handle.capture->remove_port(protocol, port));
}

Napi::Value counters(Arguments info)
{
	CaptureCounters counters = handle_at(info).capture->counters();
	Napi::Object result = Napi::Object::New(info.Env());
	auto set = [&](const char *name, uint64_t value) {
		result.Set(name, Napi::Number::New(info.Env(), static_cast<double>(value)));
	};
	const TrackerCounters &tracker = counters.tracker;
	set("packets", counters.packets);
	set("ringLosses", counters.ring_losses);
	set("truncated", counters.truncated);
	set("fragments", counters.fragments.fragments);
	set("fragmentedDatagrams", counters.fragments.datagrams);
	set("fragmentsAgain", counters.fragments.again);
	set("overlappingDatagrams", counters.fragments.overlapping);
	set("incompleteDatagrams", counters.fragments.incomplete);
	set("lostFragments", counters.fragments.lost);
	set("foreignFragments", counters.kernel.foreign_fragments);
	set("malformed", counters.malformed);
	set("badChecksums", counters.bad_checksums);
	set("wakeups", counters.wakeups);
	set("pauses", counters.pauses);
	set("flows", counters.flows);
	set("heldBytes", counters.held_bytes);
	set("connections", tracker.connections);
	set("fromMiddle", tracker.from_middle);
	set("older", tracker.older);
	set("refused", tracker.refused);
	set("noRoom", tracker.no_room);
	set("evicted", tracker.evicted);
	set("redirected", tracker.redirected);
	set("lateSegments", tracker.late_segments);
	set("straySegments", tracker.stray_segments);
	set("secondInterface", tracker.second_interface);
	set("duplicateBytes", tracker.streams.duplicate_bytes);
	set("outOfOrderSegments", tracker.streams.out_of_order_segments);
	set("unplaceableSegments", tracker.streams.unplaceable_segments);
	set("resyncs", tracker.streams.resyncs);
	set("kernelPackets", counters.kernel.packets);
	set("bareAcknowledgements", counters.kernel.bare_acknowledgements);
	set("notSampledConnections", counters.kernel.not_sampled_connections);
	set("notSampledPackets", counters.kernel.not_sampled_packets);
	set("refusedConnections", counters.kernel.refused_connections);
	set("refusedBytes", counters.kernel.refused_bytes);
	set("prefilteredPackets", counters.kernel.prefiltered_packets);
	set("prefilteredBytes", counters.kernel.prefiltered_bytes);
	set("cappedBytes", counters.kernel.capped_bytes);
	set("bulkBytes", counters.kernel.bulk_bytes);
	set("muted", tracker.muted);
	set("mutedBytes", counters.kernel.muted_bytes);
	return result;
}

// (capture, number)
void mark(Arguments info)
{
	handle_at(info).capture->mark(info[1].As<Napi::Number>().Uint32Value());
}

// (capture, flow)
void mute(Arguments info)
{
	handle_at(info).capture->mute(info[1].As<Napi::Number>().Uint32Value());
}

// (capture, flow) -> whether nobody has seen its end
Napi::Value end_flow(Arguments info)
{
	bool was_unseen = handle_at(info).capture->end_flow(info[1].As<Napi::Number>().Uint32Value());
	return Napi::Boolean::New(info.Env(), was_unseen);
}

// () -> whether the session is ours
Napi::Value own_session(Arguments info)
{
	bool is_own = getsid(0) == getpid() || setsid() >= 0;
	return Napi::Boolean::New(info.Env(), is_own);
}

// (capture) -> errno of a thread that has failed
Napi::Value failure(Arguments info)
{
	return Napi::Number::New(info.Env(), handle_at(info).capture->failure());
}

// (capture). Batches that are on their way are dropped.
void close_capture(Arguments info)
{
	handle_at(info).close();
}

template <auto function> void define(Napi::Env env, Napi::Object exports, const char *name)
{
	exports.Set(name, Napi::Function::New<function>(env, name));
}

} // namespace

} // namespace sniffer

static Napi::Object start_addon(Napi::Env env, Napi::Object exports)
{
	using namespace sniffer;
	define<open_capture>(env, exports, "open");
	define<set_port>(env, exports, "setPort");
	define<remove_port>(env, exports, "removePort");
	define<counters>(env, exports, "counters");
	define<lost_of>(env, exports, "lostOf");
	define<mark>(env, exports, "mark");
	define<mute>(env, exports, "mute");
	define<end_flow>(env, exports, "endFlow");
	define<own_session>(env, exports, "ownSession");
	define<failure>(env, exports, "failure");
	define<close_capture>(env, exports, "close");
	return exports;
}

NODE_API_MODULE(sniffer, start_addon)
