// The ring between the programs at the interfaces and the capture, both ends as they are; the kernel's runs in threads here.
#include "tap_ring.h"

#include <cstring>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "tap.h"

using namespace sniffer;

namespace {

constexpr uint64_t SECRET = 0x9e3779b97f4a7c15;
constexpr int KEEPS_ORDER = 0;

struct Shared {
	explicit Shared(uint64_t bytes)
	    : ring_bytes(bytes), words(TapRing::memory_bytes(bytes) / 8 + 1), ring(memory(), &state, bytes, SECRET)
	{
	}
	uint8_t *memory() { return reinterpret_cast<uint8_t *>(words.data()); }
	// As bpf/taps.h does it; null without room.
	capture_record *reserve(uint32_t captured, uint64_t *at)
	{
		*at = ring_reserve(&state, ring_size_of(captured), ring_bytes);
		if (*at == RING_HAS_NO_ROOM)
			return nullptr;
		auto *record = reinterpret_cast<capture_record *>(memory() + (*at & (ring_bytes - 1)));
		record->captured = captured;
		return record;
	}
	void commit(capture_record *record, uint64_t at) { ring_commit(record, ring_seal(at, SECRET), KEEPS_ORDER); }
	bool put(uint32_t captured, uint8_t filling)
	{
		uint64_t at;
		capture_record *record = reserve(captured, &at);
		if (record == nullptr)
			return false;
		memset(static_cast<void *>(record + 1), filling, captured);
		commit(record, at);
		return true;
	}
	// All bytes of the packet are the filling.
	static bool is_filled(const capture_record *record, uint8_t filling)
	{
		auto *bytes = reinterpret_cast<const uint8_t *>(record + 1);
		for (uint32_t at = 0; at < record->captured; at++)
			if (bytes[at] != filling)
				return false;
		return true;
	}

	const uint64_t ring_bytes;
	capture_taps state{};
	std::vector<uint64_t> words;
	TapRing ring;
};

void one_writer()
{
	tap::test("records of any size come as they were put, over many rounds of the memory, and what finds no room is told", [] {
		std::mt19937 random(1);
		Shared shared(1 << 16);
		std::vector<std::pair<uint32_t, uint8_t>> waiting;
		uint64_t held = 0;
		int refused = 0;
		for (int step = 0; step < 20'000; step++) {
			if (random() % 100 != 0) {
				uint32_t captured = 1 + random() % (random() % 8 == 0 ? 20'000 : 300);
				bool has_room = held + ring_size_of(captured) <= shared.ring_bytes;
				uint8_t filling = static_cast<uint8_t>(random());
				EQUAL(shared.put(captured, filling), has_room);
				refused += !has_room;
				if (has_room) {
					waiting.push_back({captured, filling});
					held += ring_size_of(captured);
				}
				continue;
			}
			for (const auto &[captured, filling] : waiting) {
				const capture_record *record = shared.ring.next();
				HOLDS(record != nullptr);
				EQUAL(record->captured, captured);
				HOLDS(Shared::is_filled(record, filling));
			}
			HOLDS(shared.ring.next() == nullptr);
			EQUAL(shared.ring.position(), shared.ring.end());
			// Not before it is given back.
			if (held > 0)
				HOLDS(!shared.put(static_cast<uint32_t>(shared.ring_bytes - held), 0));
			shared.ring.release();
			waiting.clear();
			held = 0;
		}
		HOLDS(refused > 1000);
	});
	tap::test("a packet as long as the ring finds room when it is empty only, one that is longer never", [] {
		Shared shared(1 << 16);
		uint32_t most = (1 << 16) - sizeof(capture_record);
		HOLDS(shared.put(most, 1));
		HOLDS(!shared.put(1, 2));
		HOLDS(shared.ring.next() != nullptr);
		shared.ring.release();
		HOLDS(!shared.put(most + 1, 3));
		HOLDS(shared.put(most, 4));
	});
	tap::test("a record that is not finished holds back those behind it", [] {
		Shared shared(1 << 16);
		uint64_t first, second;
		capture_record *one = shared.reserve(8, &first), *two = shared.reserve(8, &second);
		shared.commit(two, second);
		HOLDS(shared.ring.next() == nullptr);
		shared.commit(one, first);
		HOLDS(shared.ring.next() == one);
		HOLDS(shared.ring.next() == two);
		HOLDS(shared.ring.next() == nullptr);
	});
	tap::test("what a packet of the round before has left is no record, not even its own seal or a position", [] {
		Shared shared(1 << 12);
		for (uint64_t round = 0; round < 100; round++) {
			uint64_t at;
			capture_record *record = shared.reserve(2048 - sizeof(capture_record), &at);
			HOLDS(shared.ring.next() == nullptr);
			// Every word of what will lie there in the next round: this position's seal, and the next one's without the secret.
			auto *words = reinterpret_cast<uint64_t *>(record + 1);
			for (size_t word = 0; word < record->captured / 8; word++)
				words[word] = word % 2 ? ring_seal(at, SECRET) : at + shared.ring_bytes + 8 * word;
			shared.commit(record, at);
			HOLDS(shared.ring.next() == record);
			shared.ring.release();
			// So that records begin in other places.
			HOLDS(shared.put(static_cast<uint32_t>(round), 0));
			HOLDS(shared.ring.next() != nullptr);
			shared.ring.release();
		}
	});
}

void many_writers()
{
	tap::test("of four writers at once each record comes once, whole and in its writer's order, or was refused", [] {
		constexpr unsigned WRITERS = 4;
		constexpr uint32_t RECORDS = 50'000;
		Shared shared(1 << 14);
		std::vector<uint64_t> refused(WRITERS), arrived(WRITERS), last(WRITERS);
		std::vector<std::thread> writers;
		unsigned running = WRITERS;
		for (unsigned writer = 0; writer < WRITERS; writer++)
			writers.emplace_back([&, writer] {
				for (uint32_t number = 1; number <= RECORDS; number++) {
					uint64_t at;
					uint32_t captured = 1 + number * 37 % 400;
					capture_record *record = shared.reserve(captured, &at);
					if (record == nullptr) {
						refused[writer]++;
						std::this_thread::yield();
						continue;
					}
					record->interface = writer;
					record->bytes = number;
					memset(static_cast<void *>(record + 1), static_cast<uint8_t>(number + writer), captured);
					shared.commit(record, at);
				}
				__atomic_sub_fetch(&running, 1, __ATOMIC_SEQ_CST);
			});
		bool is_whole = true, is_ordered = true;
		while (__atomic_load_n(&running, __ATOMIC_SEQ_CST) > 0 || shared.ring.position() != shared.ring.end()) {
			while (const capture_record *record = shared.ring.next()) {
				unsigned writer = record->interface % WRITERS;
				is_whole &= record->captured == 1 + record->bytes * 37 % 400 &&
					    Shared::is_filled(record, static_cast<uint8_t>(record->bytes + writer));
				is_ordered &= record->bytes > last[writer];
				last[writer] = record->bytes;
				arrived[writer]++;
			}
			shared.ring.release();
			std::this_thread::yield();
		}
		for (std::thread &writer : writers)
			writer.join();
		HOLDS(is_whole);
		HOLDS(is_ordered);
		for (unsigned writer = 0; writer < WRITERS; writer++)
			EQUAL(arrived[writer] + refused[writer], uint64_t{RECORDS});
	});
}

} // namespace

int main()
{
	one_writer();
	many_writers();
	return tap::done();
}
