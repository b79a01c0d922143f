// Whether a connection really ends at the port that its packets name, or is turned to another one on its way in: then what is
// on the outer interface is not what the target reads.
#pragma once

#include <array>
#include <cstdint>

#include "descriptor.h"
#include "flow_key.h"

namespace sniffer {

class Redirects {
      public:
	virtual bool is_redirected(const FlowKey &key, uint64_t now_ms) = 0;

      protected:
	~Redirects() = default;
};

// Asks the kernel's connection tracking (ctnetlink), where REDIRECT and DNAT of iptables and nftables leave their trace, also
// for a while after the connection. Needs CAP_NET_ADMIN; where it cannot be asked nothing is redirected.
class TrackedRedirects final : public Redirects {
      public:
	// In the network namespace of the calling thread. False: it cannot be asked.
	bool prepare();
	bool is_redirected(const FlowKey &key, uint64_t now_ms) override;

      private:
	bool ask(const FlowKey &key);

	Descriptor socket_;
	uint32_t sequence_ = 0;
	// A port that was not redirected a moment ago is not asked about for each connection.
	std::array<uint64_t, 65536> direct_until_ms_{};
};

} // namespace sniffer
