/* The filters, which are in TypeScript, as the judge of heads. */
#ifndef MIRRORD_STEALER_JUDGE_ADDON_H
#define MIRRORD_STEALER_JUDGE_ADDON_H

#include <napi.h>

#include "sieve.h"

class FilterJudge : public HeadJudge
{
      public:
	/* @param memory of HEAD_LINES_BYTES. @param facts of HEAD_FACTS words, as index.ts has them. @param judge () => boolean */
	FilterJudge(Napi::Uint8Array memory, Napi::Uint32Array facts, Napi::Function judge);

	bool is_unwanted(uint32_t screen, bool has_body) override;
	/* Nobody is asked any more. */
	void close() { judge_.Reset(); }

      private:
	/* Held, so that their memory stays. */
	Napi::ObjectReference memory_object_;
	Napi::ObjectReference facts_object_;
	Napi::FunctionReference judge_;
	uint32_t *const facts_;
};

/* As index.ts has them. */
static constexpr size_t HEAD_FACTS = 5;

void write_facts(uint32_t *facts, const HeadLines &lines, uint32_t screen, bool has_body);
void define_judge(Napi::Env env, Napi::Object exports);

#endif
