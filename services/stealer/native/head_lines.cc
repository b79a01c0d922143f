/* Writes heads as lines. */
#include "head_lines.h"

#include <cstring>

static constexpr size_t VERSION_BYTES = 8;

/* Others have no encoding that all agree on, and match nothing. */
static bool is_visible(const char *bytes, size_t size)
{
	for (size_t at = 0; at < size; at++) {
		uint8_t octet = static_cast<uint8_t>(bytes[at]);

		if (octet != '\t' && (octet < 0x20 || octet > 0x7e))
			return false;
	}
	return true;
}

static char lowered(char octet)
{
	return octet >= 'A' && octet <= 'Z' ? static_cast<char>(octet + 0x20) : octet;
}

void HeadLines::put(const char *bytes, size_t size)
{
	if (size > 0)
		memcpy(memory_ + end_, bytes, size);
	end_ += size;
}

bool HeadLines::put_start(const char *method, size_t method_size, const char *target, size_t target_size)
{
	end_ = 0;
	if (!has_room(method_size) || !has_room(method_size + 1 + target_size))
		return false;
	put(method, method_size);
	method_end_ = end_;
	put("\n", 1);
	put(target, target_size);
	target_end_ = end_;
	return true;
}

/* One that is not visible is left out. */
bool HeadLines::put_line(const char *name, size_t name_size, const char *value, size_t value_size, bool is_lowered)
{
	if (!is_visible(value, value_size))
		return true;
	if (!has_room(name_size) || !has_room(name_size + 3 + value_size))
		return false;
	put("\n", 1);
	if (is_lowered)
		for (size_t at = 0; at < name_size; at++)
			memory_[end_++] = static_cast<uint8_t>(lowered(name[at]));
	else
		put(name, name_size);
	put(": ", 2);
	put(value, value_size);
	return true;
}

bool HeadLines::take(const uint8_t *head, size_t size)
{
	const char *at = reinterpret_cast<const char *>(head);
	const char *const end = at + size;
	auto find = [end](const char *from, char octet) {
		return from < end ? static_cast<const char *>(memchr(from, octet, static_cast<size_t>(end - from))) : nullptr;
	};
	const char *method_end = find(at, ' ');
	const char *target = method_end == nullptr ? nullptr : method_end + 1;
	const char *target_end = target == nullptr ? nullptr : find(target, ' ');

	if (target_end == nullptr ||
	    !put_start(at, static_cast<size_t>(method_end - at), target, static_cast<size_t>(target_end - target)))
		return false;
	if (static_cast<size_t>(end - target_end) < 1 + VERSION_BYTES + 2)
		return false;
	for (at = target_end + 1 + VERSION_BYTES + 2; at < end && *at != '\r';) {
		const char *colon = find(at, ':');
		const char *feed = colon == nullptr ? nullptr : find(colon, '\n');

		if (feed == nullptr || feed[-1] != '\r')
			return false;
		const char *value = colon + 1;
		const char *value_end = feed - 1;

		while (value < value_end && (*value == ' ' || *value == '\t'))
			value++;
		while (value_end > value && (value_end[-1] == ' ' || value_end[-1] == '\t'))
			value_end--;
		if (!put_line(at, static_cast<size_t>(colon - at), value, static_cast<size_t>(value_end - value), true))
			return false;
		at = feed + 1;
	}
	return true;
}

void HeadLines::begin()
{
	method_.clear();
	path_.clear();
	authority_.clear();
	cookies_.clear();
	has_method_ = has_path_ = has_authority_ = has_cookies_ = has_host_ = has_start_ = false;
}

/* The first one of a name counts to some, the last one to others. */
bool HeadLines::keep_pseudo(const struct header_field &field)
{
	bool *has = nullptr;
	std::string *text = nullptr;

	if (field.name == ":method") {
		has = &has_method_;
		text = &method_;
	} else if (field.name == ":path") {
		has = &has_path_;
		text = &path_;
	} else if (field.name == ":authority") {
		has = &has_authority_;
		text = &authority_;
	} else {
		return true;
	}
	if (*has || has_start_ || (text != &authority_ && !is_visible(field.value.data(), field.value.size())))
		return false;
	*has = true;
	text->assign(field.value);
	return true;
}

bool HeadLines::add(const struct header_field &field)
{
	bool is_value_visible = is_visible(field.value.data(), field.value.size());

	if (!field.name.empty() && field.name[0] == ':')
		return keep_pseudo(field);
	if (!is_visible(field.name.data(), field.name.size()))
		return false;
	if (!has_start_ && !put_start(method_.data(), method_.size(), path_.data(), path_.size()))
		return false;
	has_start_ = true;
	if (field.name == "cookie") {
		if (!is_value_visible)
			return true;
		/* A client may cut its cookies into several fields: for filters they are one line (RFC 9113 section 8.2.3). */
		if (has_cookies_)
			cookies_.append("; ");
		cookies_.append(field.value);
		has_cookies_ = true;
		return true;
	}
	has_host_ = has_host_ || (is_value_visible && field.name == "host");
	return put_line(field.name.data(), field.name.size(), field.value.data(), field.value.size(), false);
}

bool HeadLines::finish()
{
	if (!has_start_ && !put_start(method_.data(), method_.size(), path_.data(), path_.size()))
		return false;
	if (has_cookies_ && !put_line("cookie", 6, cookies_.data(), cookies_.size(), false))
		return false;
	return has_host_ || authority_.empty() || put_line("host", 4, authority_.data(), authority_.size(), false);
}
