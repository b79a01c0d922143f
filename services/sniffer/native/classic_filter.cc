// The classic BPF program: packets with a watched port at either end. What it lets through in vain the tracker leaves out.
#include <linux/filter.h>
#include <linux/if_ether.h>

#include "kernel_filter.h"
#include "packet.h"

namespace sniffer {

namespace {

constexpr uint32_t WHOLE = 0xffffffff;
constexpr uint32_t HEADERS = 256;
// Jumps reach 255 instructions.
constexpr size_t MOST_PORTS = 100;
constexpr uint32_t TAG_BYTES = 4;

constexpr uint32_t said_by_kernel(int what)
{
	return static_cast<uint32_t>(SKF_AD_OFF + what);
}

class Program {
      public:
	size_t add(uint16_t code, uint32_t operand, uint8_t if_true = 0, uint8_t if_false = 0)
	{
		code_.push_back({code, if_true, if_false, operand});
		return code_.size() - 1;
	}
	void load_byte(uint32_t at) { add(BPF_LD | BPF_B | BPF_ABS, at); }
	// Goes on where `at` is equal; jumps to an end otherwise, or the other way round.
	void unless_equal(uint32_t operand, std::vector<size_t> *to) { to->push_back(add(BPF_JMP | BPF_JEQ | BPF_K, operand, 0, PATCH)); }
	void if_equal(uint32_t operand, std::vector<size_t> *to) { to->push_back(add(BPF_JMP | BPF_JEQ | BPF_K, operand, PATCH, 0)); }
	void if_set(uint32_t operand, std::vector<size_t> *to) { to->push_back(add(BPF_JMP | BPF_JSET | BPF_K, operand, PATCH, 0)); }
	void end(const std::vector<size_t> &from, uint32_t result)
	{
		size_t here = add(BPF_RET | BPF_K, result);
		for (size_t at : from) {
			auto distance = static_cast<uint8_t>(here - at - 1);
			if (code_[at].if_true == PATCH)
				code_[at].if_true = distance;
			else
				code_[at].if_false = distance;
		}
	}
	std::vector<ClassicInstruction> take() { return std::move(code_); }

      private:
	static constexpr uint8_t PATCH = 255;
	std::vector<ClassicInstruction> code_;
};

using Rules = std::map<std::pair<uint8_t, uint16_t>, uint32_t>;

// X holds the length of the network header, which begins at `at`.
void match_ports(Program &program, uint32_t at, const Rules &rules, std::vector<size_t> *whole, std::vector<size_t> *headers)
{
	if (rules.size() > MOST_PORTS) {
		whole->push_back(program.add(BPF_JMP | BPF_JGE | BPF_K, 0, 255, 0));
		return;
	}
	program.add(BPF_LD | BPF_H | BPF_IND, at + 2);
	for (const auto &rule : rules)
		program.if_equal(rule.first.second, whole);
	program.add(BPF_LD | BPF_H | BPF_IND, at);
	for (const auto &rule : rules)
		program.if_equal(rule.first.second, rule.second & CAPTURE_ANSWERS ? whole : headers);
	program.add(BPF_RET | BPF_K, 0);
}

std::vector<ClassicInstruction> program_at(uint32_t at, const Rules &rules)
{
	Program program;
	std::vector<size_t> none, whole, headers, version6, others;
	// The first nibble tells the family also where the ethertype is that of a VLAN.
	program.load_byte(at);
	program.add(BPF_ALU | BPF_AND | BPF_K, 0xf0);
	size_t to_version6 = program.add(BPF_JMP | BPF_JEQ | BPF_K, 0x60, 255, 0);
	program.unless_equal(0x40, &none);
	program.load_byte(at + 9);
	size_t is_tcp = program.add(BPF_JMP | BPF_JEQ | BPF_K, PROTOCOL_TCP, 1, 0);
	(void)is_tcp;
	program.unless_equal(PROTOCOL_UDP, &none);
	program.add(BPF_LD | BPF_H | BPF_ABS, at + 6);
	// Fragments, whoever's: the first alone tells its port.
	program.if_set(0x3fff, &whole);
	program.add(BPF_LDX | BPF_B | BPF_MSH, at);
	match_ports(program, at, rules, &whole, &headers);
	program.end(none, 0);
	program.end(whole, WHOLE);
	program.end(headers, HEADERS);
	std::vector<ClassicInstruction> code = program.take();
	size_t begin6 = code.size();

	Program six;
	none.clear(), whole.clear(), headers.clear();
	std::vector<size_t> extended;
	six.load_byte(at + 6);
	size_t tcp6 = six.add(BPF_JMP | BPF_JEQ | BPF_K, PROTOCOL_TCP, 7, 0);
	(void)tcp6;
	size_t udp6 = six.add(BPF_JMP | BPF_JEQ | BPF_K, PROTOCOL_UDP, 6, 0);
	(void)udp6;
	// Behind an extension header the tracker looks for itself: hop-by-hop, routing, authentication, destination options; and fragments.
	six.if_equal(0, &extended);
	six.if_equal(43, &extended);
	six.if_equal(44, &extended);
	six.if_equal(51, &extended);
	six.if_equal(60, &extended);
	six.add(BPF_RET | BPF_K, 0);
	six.add(BPF_LDX | BPF_IMM, 40);
	match_ports(six, at, rules, &whole, &headers);
	whole.insert(whole.end(), extended.begin(), extended.end());
	six.end(whole, WHOLE);
	six.end(headers, HEADERS);
	for (const ClassicInstruction &instruction : six.take())
		code.push_back(instruction);
	// A jump over the whole first half may be too far for a condition.
	code[to_version6].if_true = 0;
	code[to_version6].if_false = 1;
	code.insert(code.begin() + static_cast<long>(to_version6) + 1,
		    {BPF_JMP | BPF_JA, 0, 0, static_cast<uint32_t>(begin6 - to_version6 - 1)});
	return code;
}

} // namespace

std::vector<ClassicInstruction> classic_program(const Rules &rules)
{
	if (rules.empty())
		return {{BPF_RET | BPF_K, 0, 0, 0}};
	std::vector<ClassicInstruction> plain = program_at(0, rules), tagged = program_at(TAG_BYTES, rules);
	// One tag the kernel has taken off: a second one may be in there, by its type and the version behind it. Of what goes out all
	// may be cut off.
	std::vector<ClassicInstruction> code = {
		{BPF_LD | BPF_W | BPF_ABS, 0, 0, said_by_kernel(SKF_AD_PROTOCOL)},
		{BPF_JMP | BPF_JEQ | BPF_K, 1, 0, ETH_P_8021Q},
		{BPF_JMP | BPF_JEQ | BPF_K, 0, 8, ETH_P_8021AD},
		{BPF_LD | BPF_H | BPF_ABS, 0, 0, 2},
		{BPF_JMP | BPF_JEQ | BPF_K, 1, 0, ETH_P_IPV6},
		{BPF_JMP | BPF_JEQ | BPF_K, 0, 5, ETH_P_IP},
		{BPF_LD | BPF_B | BPF_ABS, 0, 0, TAG_BYTES},
		{BPF_ALU | BPF_AND | BPF_K, 0, 0, 0xf0},
		{BPF_JMP | BPF_JEQ | BPF_K, 1, 0, 0x40},
		{BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0x60},
		{BPF_JMP | BPF_JA, 0, 0, static_cast<uint32_t>(plain.size())},
	};
	code.insert(code.end(), plain.begin(), plain.end());
	code.insert(code.end(), tagged.begin(), tagged.end());
	return code;
}

} // namespace sniffer
