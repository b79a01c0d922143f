/* The class TlsContext as JavaScript has it, and what the class Sockets needs of it. */
#ifndef MIRRORD_STEALER_TLS_ADDON_H
#define MIRRORD_STEALER_TLS_ADDON_H

#include <memory>
#include <napi.h>

#include "tls.h"

std::shared_ptr<TlsContext> context_of(const Napi::Value &value);
/* NativeAgreed of index.ts. */
Napi::Object to_agreed(Napi::Env env, const TlsStream &stream);
Napi::Function define_tls(Napi::Env env);

#endif
