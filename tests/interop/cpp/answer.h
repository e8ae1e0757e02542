#pragma once

#include <algorithm>
#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <thread>

#include <grpcpp/grpcpp.h>

#include "contextprotocol/v1/chat.grpc.pb.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace v1 = contextprotocol::v1;

// Reads what an error carries: google::rpc::ErrorInfo, google::rpc::RetryInfo …
template <typename Detail>
std::optional<Detail> DetailOf(const grpc::Status& status) {
  google::rpc::Status details;
  Detail found;
  if (details.ParseFromString(status.error_details())) {
    for (const auto& any : details.details()) {
      if (any.UnpackTo(&found)) return found;
    }
  }
  return std::nullopt;
}

// How long to wait before the same request is sent again; nothing if that does not help.
inline std::optional<std::chrono::duration<double>> WaitAfter(const grpc::Status& status,
                                                              const grpc::ClientContext& context) {
  // After these the same request may be sent again: the provider is asked once all the same.
  static const std::set<std::string> again{"DRAINING", "OVERLOADED", "TURN_INTERRUPTED", "STORE_UNAVAILABLE"};
  const auto info = DetailOf<google::rpc::ErrorInfo>(status);
  // A busy server ends calls with CANCELLED.
  const bool lost = !info && (status.error_code() == grpc::StatusCode::UNAVAILABLE ||
                              status.error_code() == grpc::StatusCode::CANCELLED);
  const auto& trailers = context.GetServerTrailingMetadata();
  const auto pushback = trailers.find("grpc-retry-pushback-ms");
  const bool final = pushback != trailers.end() && pushback->second == "-1";
  if (final || !(lost || (info && again.count(info->reason())))) return std::nullopt;
  const auto delay = DetailOf<google::rpc::RetryInfo>(status).value_or(google::rpc::RetryInfo{}).retry_delay();
  return std::chrono::duration<double>(delay.seconds() + delay.nanos() / 1e9);
}

// Has an answer, whatever happens to connections and servers, and returns OK and its text. The request has a request_id,
// and `seen` is called with each event. Give it up with a deadline of your own: the turn ends when nobody has read it for
// a while.
inline grpc::Status Answer(v1::ChatService::StubInterface& chat, v1::ChatRequest request,
                           std::chrono::system_clock::time_point deadline,
                           const std::function<void(const v1::TurnEvent&)>& seen, std::string* text) {
  std::map<int, std::string> parts;
  std::minstd_rand random{std::random_device{}()};
  double pause = 0.1;
  for (;;) {
    grpc::ClientContext context;
    context.set_deadline(deadline);
    const auto stream = chat.StreamChat(&context, request);
    for (v1::TurnEvent event; stream->Read(&event);) {
      if (event.has_heartbeat()) continue;
      if (event.has_delta()) {
        parts[event.delta().part()] += event.delta().text();
      } else if (event.has_switched() && event.switched().mode() == v1::AttemptSwitched::MODE_RESTARTED) {
        parts.clear();
      }
      request.set_after_sequence(event.sequence());
      pause = 0.1;
      seen(event);
    }
    const grpc::Status status = stream->Finish();
    if (status.ok()) {
      text->clear();
      for (const auto& [index, part] : parts) *text += part;
      return status;
    }
    const auto wait = WaitAfter(status, context);
    if (!wait) return status;
    std::this_thread::sleep_for(*wait + std::chrono::duration<double>(std::uniform_real_distribution(0.0, pause)(random)));
    pause = std::min(pause * 2, 5.0);
  }
}
