// The cases of tests/interop in C++: cases ADDRESS CASE
#include <cstdlib>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>
#include <grpcpp/grpcpp.h>

#include "answer.h"
#include "contextprotocol/v1/embedding.grpc.pb.h"
#include "contextprotocol/v1/model.grpc.pb.h"
#include "contextprotocol/v1/session.grpc.pb.h"
#include "contextprotocol/v1/turn.grpc.pb.h"
#include "grpc/health/v1/health.grpc.pb.h"

using google::protobuf::Struct;
using google::protobuf::Value;
using grpc::ClientContext;
using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

namespace {

// Findings are a Struct, which protobuf can print as JSON.
Value Of(const std::string& text) {
  Value value;
  value.set_string_value(text);
  return value;
}

Value Of(double number) {
  Value value;
  value.set_number_value(number);
  return value;
}

Value Of(bool truth) {
  Value value;
  value.set_bool_value(truth);
  return value;
}

Value Of(const Struct& object) {
  Value value;
  *value.mutable_struct_value() = object;
  return value;
}

template <typename Element>
Value List(const Element& elements) {
  Value value;
  auto& list = *value.mutable_list_value();
  for (const auto& element : elements) *list.add_values() = element;
  return value;
}

Value Texts(const std::vector<std::string>& texts) {
  std::vector<Value> values;
  for (const auto& text : texts) values.push_back(Of(text));
  return List(values);
}

Struct Object(const std::map<std::string, Value>& fields) {
  Struct object;
  for (const auto& [name, value] : fields) (*object.mutable_fields())[name] = value;
  return object;
}

void Say(const Struct& line) {
  std::string json;
  if (!google::protobuf::util::MessageToJsonString(line, &json).ok()) std::abort();
  std::cout << json << std::endl;
}

// Lets the test do what is its part.
void Pause(const std::string& what) {
  Say(Object({{"pause", Of(what)}}));
  std::string line;
  std::getline(std::cin, line);
}

void Must(const grpc::Status& status) {
  if (status.ok()) return;
  std::cerr << status.error_code() << " " << status.error_message() << std::endl;
  std::exit(1);
}

// The error with which a call must have ended.
Value Refused(const grpc::Status& status) {
  if (status.ok()) {
    std::cerr << "the call was not refused" << std::endl;
    std::exit(1);
  }
  const auto info = DetailOf<google::rpc::ErrorInfo>(status).value_or(google::rpc::ErrorInfo{});
  std::map<std::string, Value> metadata;
  for (const auto& [key, value] : info.metadata()) metadata[key] = Of(value);
  return Of(Object({{"code", Of(static_cast<double>(status.error_code()))},
                    {"reason", Of(info.reason())},
                    {"metadata", Of(Object(metadata))}}));
}

void Add(v1::ChatRequest& request, const std::string& text) {
  auto& message = *request.add_messages();
  message.set_role(v1::ROLE_USER);
  message.add_parts()->set_text(text);
}

v1::ChatRequest Go(const std::string& session = "") {
  v1::ChatRequest request;
  request.set_session(session);
  Add(request, "go");
  return request;
}

std::string TextOf(const v1::Message& message) {
  std::string text;
  for (const auto& part : message.parts()) text += part.text();
  return text;
}

v1::ContextEntry Text(const std::string& text) {
  v1::ContextEntry entry;
  entry.set_type("text");
  entry.set_text(text);
  return entry;
}

// A stream of events, with what it needs to live.
class Events {
 public:
  Events(v1::ChatService::Stub& chats, const v1::ChatRequest& request, double deadline = 60)
      : context_(Lasting(deadline)), stream_(chats.StreamChat(context_.get(), request)) {}

  Events(v1::TurnService::Stub& turns, const v1::StreamTurnRequest& request)
      : context_(Lasting(60)), stream_(turns.StreamTurn(context_.get(), request)) {}

  // Reads on until an event of that kind.
  v1::TurnEvent Until(v1::TurnEvent::EventCase kind) {
    v1::TurnEvent event;
    while (stream_->Read(&event)) {
      if (event.event_case() == kind) return event;
    }
    Must(stream_->Finish());
    std::cerr << "the stream ended too early" << std::endl;
    std::exit(1);
  }

  // Reads to the end.
  grpc::Status Rest(std::string* text) {
    v1::TurnEvent event;
    while (stream_->Read(&event)) *text += event.delta().text();
    return stream_->Finish();
  }

  bool Next(v1::TurnEvent* event) { return stream_->Read(event); }
  void Leave() { context_->TryCancel(); }

 private:
  static std::unique_ptr<ClientContext> Lasting(double seconds) {
    auto context = std::make_unique<ClientContext>();
    context->set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(static_cast<int>(seconds * 1000)));
    return context;
  }

  std::unique_ptr<ClientContext> context_;
  std::unique_ptr<grpc::ClientReader<v1::TurnEvent>> stream_;
};

class Cases {
 public:
  explicit Cases(const std::string& address) {
    grpc::ChannelArguments alive;
    alive.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 30'000);
    alive.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
    const auto channel = grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), alive);
    sessions_ = v1::SessionService::NewStub(channel);
    chats_ = v1::ChatService::NewStub(channel);
    turns_ = v1::TurnService::NewStub(channel);
    embeddings_ = v1::EmbeddingService::NewStub(channel);
    models_ = v1::ModelService::NewStub(channel);
    health_ = grpc::health::v1::Health::NewStub(channel);
  }

  Struct Run(const std::string& name) {
    static const std::map<std::string, Struct (Cases::*)()> cases{
        {"create", &Cases::Create},     {"chat", &Cases::Chat},
        {"stream", &Cases::Stream},     {"retry", &Cases::Retry},
        {"resume", &Cases::Resume},     {"cancel", &Cases::Cancel},
        {"leave", &Cases::Leave},       {"busy", &Cases::Busy},
        {"deadline", &Cases::Deadline}, {"unknown_session", &Cases::UnknownSession},
        {"context", &Cases::Context},   {"embeddings", &Cases::Embeddings},
        {"tokens", &Cases::Tokens},     {"state", &Cases::State},
        {"check", &Cases::Check},       {"watch", &Cases::Watch},
    };
    return (this->*cases.at(name))();
  }

 private:
  v1::Session Begin(const v1::CreateSessionRequest& request) {
    ClientContext context;
    v1::Session session;
    Must(sessions_->CreateSession(&context, request, &session));
    return session;
  }

  v1::CreateSessionRequest Interop() {
    v1::CreateSessionRequest request;
    request.set_session_id("interop");
    return request;
  }

  grpc::Status Get(const std::string& name, v1::Session* session) {
    ClientContext context;
    v1::GetSessionRequest request;
    request.set_name(name);
    return sessions_->GetSession(&context, request, session);
  }

  grpc::Status Ask(const v1::ChatRequest& request, v1::ChatResponse* reply) {
    ClientContext context;
    return chats_->Chat(&context, request, reply);
  }

  v1::Turn Stop(const std::string& name) {
    ClientContext context;
    v1::CancelTurnRequest request;
    request.set_name(name);
    v1::Turn turn;
    Must(turns_->CancelTurn(&context, request, &turn));
    return turn;
  }

  grpc::Status CheckHealth(const std::string& service, HealthCheckResponse* found) {
    ClientContext context;
    HealthCheckRequest request;
    request.set_service(service);
    return health_->Check(&context, request, found);
  }

  Struct Create() {
    auto request = Interop();
    (*request.mutable_session()->mutable_labels())["team"] = "blue";
    request.mutable_session()->set_system_instruction("Be brief.");
    request.mutable_session()->mutable_ttl()->set_seconds(3600);
    request.set_request_id("begin");
    const auto first = Begin(request);
    const auto again = Begin(request);
    v1::Session session;
    Must(Get(first.name(), &session));
    std::map<std::string, Value> labels;
    for (const auto& [key, value] : session.labels()) labels[key] = Of(value);
    return Object({{"names", Texts({first.name(), again.name()})},
                   {"labels", Of(Object(labels))},
                   {"system_instruction", Of(session.system_instruction())},
                   {"ttl", Of(static_cast<double>(session.ttl().seconds()))},
                   {"same", Of(session.uid() == first.uid() && session.etag() == again.etag())}});
  }

  Struct Chat() {
    v1::ChatRequest request;
    request.set_session(Begin(Interop()).name());
    Add(request, "Grüß Gott 👋");
    request.mutable_config()->set_temperature(0);
    v1::ChatResponse reply;
    Must(Ask(request, &reply));
    ClientContext context;
    v1::ListMessagesRequest list;
    list.set_parent(request.session());
    v1::ListMessagesResponse listed;
    Must(sessions_->ListMessages(&context, list, &listed));
    std::vector<Value> history;
    for (const auto& message : listed.messages()) history.push_back(Texts({v1::Role_Name(message.role()), TextOf(message)}));
    return Object({{"text", Of(TextOf(reply.completed().message()))},
                   {"finish_reason", Of(v1::FinishReason_Name(reply.completed().finish_reason()))},
                   {"history", List(history)}});
  }

  Struct Stream() {
    std::vector<std::string> kinds;
    std::vector<Value> sequences;
    std::string text, whole;
    Events events(*chats_, Go());
    for (v1::TurnEvent event; events.Next(&event);) {
      kinds.push_back(v1::TurnEvent::descriptor()->FindFieldByNumber(event.event_case())->name());
      sequences.push_back(Of(static_cast<double>(event.sequence())));
      if (event.has_delta()) {
        text += event.delta().text();
        Pause(event.delta().text());
      } else if (event.has_completed()) {
        whole = TextOf(event.completed().message());
      }
    }
    return Object({{"kinds", Texts(kinds)}, {"sequences", List(sequences)}, {"text", Of(text)}, {"whole", Of(whole)}});
  }

  Struct Retry() {
    auto request = Go();
    request.set_request_id("order");
    v1::ChatResponse first, again, none;
    Must(Ask(request, &first));
    Must(Ask(request, &again));
    v1::ChatRequest other;
    Add(other, "stop");
    other.set_request_id("order");
    return Object({{"turns", Texts({first.turn(), again.turn()})},
                   {"texts", Texts({TextOf(first.completed().message()), TextOf(again.completed().message())})},
                   {"refused", Refused(Ask(other, &none))}});
  }

  Struct Resume() {
    auto request = Go();
    request.set_request_id("story");
    std::vector<Value> sequences;
    std::string turn, text;
    const auto deadline = std::chrono::system_clock::now() + std::chrono::minutes(1);
    const auto seen = [&](const v1::TurnEvent& event) {
      sequences.push_back(Of(static_cast<double>(event.sequence())));
      if (event.has_started()) turn = event.started().turn();
      if (event.has_delta()) Pause(event.delta().text());
    };
    Must(Answer(*chats_, request, deadline, seen, &text));
    return Object({{"turn", Of(turn)}, {"text", Of(text)}, {"sequences", List(sequences)}});
  }

  Struct Cancel() {
    Events events(*chats_, Go());
    const auto name = events.Until(v1::TurnEvent::kStarted).started().turn();
    events.Until(v1::TurnEvent::kDelta);
    const auto first = Stop(name);
    const auto again = Stop(name);
    std::string more;
    return Object({{"states", Texts({v1::TurnState_Name(first.state()), v1::TurnState_Name(again.state())})},
                   {"text", Of(TextOf(first.message()))},
                   {"refused", Refused(events.Rest(&more))}});
  }

  Struct Leave() {
    auto request = Go();
    request.set_on_disconnect(v1::ON_DISCONNECT_CANCEL);
    Events events(*chats_, request);
    const auto name = events.Until(v1::TurnEvent::kStarted).started().turn();
    events.Until(v1::TurnEvent::kDelta);
    events.Leave();
    Pause(name);
    ClientContext context;
    v1::GetTurnRequest get;
    get.set_name(name);
    v1::Turn turn;
    Must(turns_->GetTurn(&context, get, &turn));
    std::string more;
    Refused(events.Rest(&more));
    return Object({{"state", Of(v1::TurnState_Name(turn.state()))}});
  }

  Struct Busy() {
    const auto session = Begin(Interop()).name();
    Events first(*chats_, Go(session));
    const auto running = first.Until(v1::TurnEvent::kStarted).started().turn();
    v1::ChatResponse none;
    const auto refused = Refused(Ask(Go(session), &none));
    auto waiting = Go(session);
    waiting.set_if_busy(v1::IF_BUSY_QUEUE);
    Events second(*chats_, waiting);
    const auto position = second.Until(v1::TurnEvent::kQueued).queued().position();
    Pause(running);
    std::string one, two;
    Must(first.Rest(&one));
    Must(second.Rest(&two));
    return Object(
        {{"refused", refused}, {"position", Of(static_cast<double>(position))}, {"texts", Texts({one, two})}});
  }

  Struct Deadline() {
    HealthCheckResponse health;
    Must(CheckHealth("", &health));  // connects, so that the deadline is the turn's alone
    auto request = Go();
    request.set_on_disconnect(v1::ON_DISCONNECT_CONTINUE);
    Events events(*chats_, request, 1);
    const auto name = events.Until(v1::TurnEvent::kStarted).started().turn();
    const auto last = events.Until(v1::TurnEvent::kDelta);
    std::string more, rest;
    const auto deadline = Refused(events.Rest(&more));
    Pause(last.delta().text());
    v1::StreamTurnRequest replay;
    replay.set_name(name);
    replay.set_after_sequence(last.sequence());
    Must(Events(*turns_, replay).Rest(&rest));
    auto slow = Go();
    slow.mutable_timeout()->set_nanos(50'000'000);
    v1::ChatResponse none;
    return Object({{"deadline", deadline}, {"rest", Of(rest)}, {"timeout", Refused(Ask(slow, &none))}});
  }

  Struct UnknownSession() {
    const std::string name = "sessions/nobody";
    v1::Session none;
    std::string more;
    return Object({{"read", Refused(Get(name, &none))}, {"streamed", Refused(Events(*chats_, Go(name)).Rest(&more))}});
  }

  Struct Context() {
    auto request = Interop();
    auto& given = *request.mutable_session()->mutable_context();
    given["city"] = Text("Ulm");
    given["taste"].set_type("json");
    *given["taste"].mutable_json() = Of(Object({{"tea", Of(true)}, {"sugar", Of(2.5)}}));
    const auto name = Begin(request).name();

    ClientContext context;
    v1::UpdateSessionRequest update;
    update.mutable_session()->set_name(name);
    (*update.mutable_set_context())["day"] = Text("Monday");
    update.add_remove_context("city");
    v1::Session session;
    Must(sessions_->UpdateSession(&context, update, &session));
    Must(Get(name, &session));
    v1::ChatResponse reply;
    Must(Ask(Go(name), &reply));

    std::map<std::string, Value> entries;  // sorted
    for (const auto& [entry, value] : session.context()) entries[entry];
    std::vector<std::string> names;
    for (const auto& [entry, value] : entries) names.push_back(entry);
    const auto& taste = session.context().at("taste").json().struct_value().fields();
    return Object({{"entries", Texts(names)},
                   {"day", Of(session.context().at("day").text())},
                   {"tea", taste.at("tea")},
                   {"sugar", taste.at("sugar")}});
  }

  Struct Embeddings() {
    ClientContext context;
    v1::EmbedRequest request;
    request.add_inputs("abba");
    request.add_inputs("c");
    v1::EmbedResponse found;
    Must(embeddings_->Embed(&context, request, &found));
    std::vector<Value> vectors;
    for (const auto& embedding : found.embeddings()) {
      std::vector<Value> values;
      for (const double value : embedding.values()) values.push_back(Of(value));
      vectors.push_back(List(values));
    }
    return Object({{"vectors", List(vectors)}, {"input_tokens", Of(static_cast<double>(found.usage().input_tokens()))}});
  }

  Struct Tokens() {
    ClientContext context;
    v1::CountTokensRequest request;
    auto& message = *request.add_messages();
    message.set_role(v1::ROLE_USER);
    message.add_parts()->set_text("one two three");
    v1::CountTokensResponse found;
    Must(models_->CountTokens(&context, request, &found));
    return Object({{"input_tokens", Of(static_cast<double>(found.input_tokens()))},
                   {"exact", Of(found.exact())},
                   {"model", Of(found.model())}});
  }

  Struct State() {
    auto request = Go();
    v1::ChatResponse first, second;
    Must(Ask(request, &first));
    *request.add_messages() = first.completed().message();
    Add(request, "go");
    Must(Ask(request, &second));
    return Object({{"texts", Texts({TextOf(first.completed().message()), TextOf(second.completed().message())})}});
  }

  Struct Check() {
    std::vector<std::string> statuses;
    HealthCheckResponse found;
    for (const auto* service : {"", "contextprotocol.v1.ChatService"}) {
      Must(CheckHealth(service, &found));
      statuses.push_back(HealthCheckResponse::ServingStatus_Name(found.status()));
    }
    const auto unknown = CheckHealth("nobody", &found);
    return Object({{"statuses", Texts(statuses)}, {"unknown", Of(static_cast<double>(unknown.error_code()))}});
  }

  Struct Watch() {
    ClientContext context;
    const auto watch = health_->Watch(&context, HealthCheckRequest{});
    HealthCheckResponse found;
    const auto next = [&] {
      if (!watch->Read(&found)) Must(watch->Finish());
      return HealthCheckResponse::ServingStatus_Name(found.status());
    };
    Pause(next());
    const auto status = next();
    context.TryCancel();
    watch->Finish();
    return Object({{"status", Of(status)}});
  }

  std::unique_ptr<v1::SessionService::Stub> sessions_;
  std::unique_ptr<v1::ChatService::Stub> chats_;
  std::unique_ptr<v1::TurnService::Stub> turns_;
  std::unique_ptr<v1::EmbeddingService::Stub> embeddings_;
  std::unique_ptr<v1::ModelService::Stub> models_;
  std::unique_ptr<grpc::health::v1::Health::Stub> health_;
};

}  // namespace

int main(int, char** arguments) {
  Say(Cases(arguments[1]).Run(arguments[2]));
  std::cout.flush();
  std::_Exit(0);  // with the streams that a case has left open
}
