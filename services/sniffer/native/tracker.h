// All flows of one capture: which segment belongs to which connection, when a connection begins and ends, what of it can be
// copied. Knows neither sockets nor threads; time comes in with every call.
//
// Limits: `most_flows`; what is not being copied makes room first, then who has been silent longest, then new connections
// are counted as lost. Bytes out of order: Budget.
#pragma once

#include <array>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "flow.h"
#include "redirects.h"

namespace sniffer {

class TrackerSink {
      public:
	virtual void on_open(const Flow &flow) = 0;
	virtual void on_bytes(const Flow &flow, Direction direction, const uint8_t *data, size_t bytes) = 0;
	virtual void on_gap(const Flow &flow, Direction direction, uint64_t bytes, Loss reason) = 0;
	// That side has sent its FIN, and everything before it was told.
	virtual void on_half_close(const Flow &flow, Direction direction, uint64_t at_ns) = 0;
	virtual void on_close(const Flow &flow, End reason, uint64_t at_ns) = 0;
	// A connection that is not copied; then what it carried meanwhile, and at its end the rest.
	virtual void on_older(const Flow &flow, Loss reason) = 0;
	virtual void on_older_bytes(const Flow &flow) = 0;
	virtual void on_older_close(const Flow &flow) = 0;
	// A new connection for which there is no room.
	virtual void on_no_room(const FlowKey &key) = 0;

      protected:
	~TrackerSink() = default;
};

struct TrackerLimits {
	size_t most_flows = 65'536;
	uint64_t opening_ms = 60'000;
	uint64_t closed_ms = 10'000;
	uint64_t half_closed_ms = 3600 * 1000ull;
	uint64_t idle_ms = 24 * 3600 * 1000ull;
	uint64_t datagrams_idle_ms = 60'000;
	// One that is copied and was active in this time does not make room for a new one.
	uint64_t protected_ms = 10'000;
};

struct TrackerCounters {
	uint64_t segments = 0;
	uint64_t connections = 0;
	uint64_t from_middle = 0;
	uint64_t older = 0;
	uint64_t refused = 0; // by the target: never open
	uint64_t no_room = 0;
	uint64_t evicted = 0;
	uint64_t redirected = 0;
	uint64_t late_segments = 0;
	uint64_t stray_segments = 0; // of nothing that is known, and nothing to begin with
	uint64_t second_interface = 0;
	uint64_t muted = 0;
	StreamCounters streams;
};

class Tracker {
      public:
	Tracker(TrackerSink &sink, TrackerLimits limits, Budget budget, uint64_t secret);
	// Who is asked whether what comes over an outer interface is ciphertext; without it nobody.
	void set_redirects(Redirects *redirects) { redirects_ = redirects; }

	// One bit each: watched; what the target answers is wanted; connections are joined anywhere.
	// And: segments without their payload hold what nobody wants, as long as the port is watched.
	enum : uint8_t { WATCHED = 1, ANSWERS = 2, FROM_ANYWHERE = 4, PREFILTERED = 8 };
	void set_port(uint8_t protocol, uint16_t port, uint8_t wishes);
	// No longer watched: its connections are over for us.
	void forget_port(uint8_t protocol, uint16_t port, Now now);

	// Nobody wants more of it, until it begins a request: then it is joined as one that began before. False for one that
	// is not being copied. `take_unmuted` says whose the kernel has to let through again.
	bool mute(uint32_t id, FlowKey *key, Now now);
	std::vector<FlowKey> take_unmuted() { return std::exchange(unmuted_, {}); }

	void segment(const Segment &segment, Now now);
	// Every some milliseconds: what has waited too long.
	void tick(Now now);
	// What connections that are not copied have carried since the last time.
	void tell_older();
	// It has ended, as others know. False where that was seen, and only holes were waited for.
	bool end_flow(uint32_t id, Now now);
	bool has_holes() const { return !waiting_.empty(); }

	size_t flows() const { return flows_.size(); }
	const TrackerCounters &counters() const { return counters_; }
	size_t held_bytes() const { return budget_.held_bytes; }

      private:
	struct Link;

	uint8_t wishes(uint8_t protocol, uint16_t port) const;
	bool direct(const Segment &segment, Direction *direction) const;
	Flow *find(const FlowKey &key) const;
	Flow *add(const FlowKey &key, const Segment &segment, FlowState state, Now now);
	bool make_room(Now now);
	void become(Flow &flow, FlowState state);
	std::list<Flow *> &list_of(const Flow &flow);
	uint64_t limit_ms(const Flow &flow) const;
	void end(Flow &flow, Now now);
	void remove(Flow &flow);
	void touch(Flow &flow, Now now);

	void tcp(const Segment &segment, Direction direction, Now now);
	void datagram(const Segment &segment, Now now);
	void syn(Flow *flow, const FlowKey &key, const Segment &segment, Direction direction, Now now);
	void syn_answer(Flow *flow, const FlowKey &key, const Segment &segment, Direction direction, Now now);
	void unknown(const FlowKey &key, const Segment &segment, Direction direction, Now now);
	void late(Flow &flow, const FlowKey &key, const Segment &segment, Direction direction, Now now);
	void ignored(Flow &flow, const FlowKey &key, const Segment &segment, Direction direction, Now now);
	void unmute(Flow &flow);
	void join_or_count(Flow &flow, const Segment &segment, Direction direction, Now now);
	void carry(Flow &flow, const Segment &segment, Direction direction, Now now);
	void bytes(Flow &flow, const Segment &segment, Direction direction, uint32_t sequence, Now now);
	bool is_ciphertext(Flow &flow, Now now);
	bool is_unwanted(const Segment &segment) const;
	void leave_out(Flow &flow, const Segment &segment, Now now);
	void begin_copy(Flow &flow, Now now);
	void reset(Flow &flow, const Segment &segment, Direction direction, Now now);
	void close(Flow &flow, End reason, Now now);
	void close_when_done(Flow &flow, Now now);
	void watch(Flow &flow);
	static bool has_to_wait(const Flow &flow);
	void expire(std::list<Flow *> &list, Now now);
	bool evict(std::list<Flow *> &list, uint64_t silent_ms, Now now);

	TrackerSink &sink_;
	const TrackerLimits limits_;
	Budget budget_;
	TrackerCounters counters_;
	uint32_t last_id_ = 0;
	std::array<uint8_t, 65536> tcp_{};
	std::array<uint8_t, 65536> udp_{};
	Redirects *redirects_ = nullptr;
	std::unordered_map<FlowKey, std::unique_ptr<Flow>, FlowKeyHash> flows_;
	// Each in the order of the last packets, and of one limit of age: opening and closed; older and ignored; datagrams; those
	// that have ended on one side; those that are copied.
	std::list<Flow *> brief_;
	std::list<Flow *> lasting_;
	std::list<Flow *> datagrams_;
	std::list<Flow *> ending_;
	std::list<Flow *> copied_;
	std::vector<Flow *> waiting_;
	std::unordered_map<uint32_t, Flow *> by_id_;
	std::vector<FlowKey> unmuted_;
};

} // namespace sniffer
