# frozen_string_literal: true

# The cases of tests/interop in Ruby: ruby cases.rb ADDRESS CASE
$LOAD_PATH.unshift(__dir__)

require 'json'
require 'contextprotocol/v1/embedding_services_pb'
require 'contextprotocol/v1/model_services_pb'
require 'contextprotocol/v1/session_services_pb'
require 'contextprotocol/v1/turn_services_pb'
require 'grpc/health/v1/health_services_pb'
require_relative 'answer'

V1 = ContextProtocol::V1
HealthRequest = Grpc::Health::V1::HealthCheckRequest

def say(line)
  puts JSON.generate(line)
  $stdout.flush
end

# Let the test do what is its part.
def pause(what)
  say(pause: what)
  $stdin.gets
end

# The error with which the block must end.
def refused
  yield
rescue GRPC::BadStatus => e
  info = detail(e, Google::Rpc::ErrorInfo)
  { code: e.code, reason: info&.reason.to_s, metadata: info ? info.metadata.to_h : {} }
else
  raise 'the call was not refused'
end

def user(text)
  V1::Message.new(role: :ROLE_USER, parts: [V1::Part.new(text: text)])
end

def text_of(message)
  message.parts.map(&:text).join
end

def go(**fields)
  V1::ChatRequest.new(messages: [user('go')], **fields)
end

def text(value)
  V1::ContextEntry.new(type: 'text', text: value)
end

# Read on until an event of that kind.
def til(events, kind)
  loop do
    event = events.next
    return event.public_send(kind) if event.event == kind
  end
  raise "the stream ended without #{kind}"
end

# Read a stream to its end: the text that comes.
def rest(events)
  found = +''
  loop { found << events.next.delta&.text.to_s }
  found
end

# The cases, one a method.
class Cases
  def initialize(address)
    @sessions, @chats, @turns, @embeddings, @models, @health =
      [V1::SessionService, V1::ChatService, V1::TurnService, V1::EmbeddingService, V1::ModelService,
       Grpc::Health::V1::Health].map do |service|
        alive = { 'grpc.keepalive_time_ms' => 30_000, 'grpc.keepalive_timeout_ms' => 10_000 }
        service::Stub.new(address, :this_channel_is_insecure, channel_args: alive)
      end
  end

  def begin_session(**fields)
    @sessions.create_session(V1::CreateSessionRequest.new(session_id: 'interop', session: V1::Session.new(**fields))).name
  end

  def create
    request = V1::CreateSessionRequest.new(
      session_id: 'interop',
      session: V1::Session.new(
        labels: { 'team' => 'blue' },
        system_instruction: 'Be brief.',
        ttl: Google::Protobuf::Duration.new(seconds: 3600)
      ),
      request_id: 'begin'
    )
    first = @sessions.create_session(request)
    again = @sessions.create_session(request)
    session = @sessions.get_session(V1::GetSessionRequest.new(name: first.name))
    {
      names: [first.name, again.name],
      labels: session.labels.to_h,
      system_instruction: session.system_instruction,
      ttl: session.ttl.seconds,
      same: session.uid == first.uid && session.etag == again.etag
    }
  end

  def chat
    session = begin_session
    request = V1::ChatRequest.new(
      session: session,
      messages: [user('Grüß Gott 👋')],
      config: V1::GenerationConfig.new(temperature: 0)
    )
    completed = @chats.chat(request).completed
    messages = @sessions.list_messages(V1::ListMessagesRequest.new(parent: session)).messages
    {
      text: text_of(completed.message),
      finish_reason: completed.finish_reason,
      history: messages.map { |message| [message.role, text_of(message)] }
    }
  end

  def stream
    kinds = []
    sequences = []
    text = +''
    whole = ''
    @chats.stream_chat(go) do |event|
      kinds << event.event
      sequences << event.sequence
      case event.event
      when :delta
        text << event.delta.text
        pause(event.delta.text)
      when :completed
        whole = text_of(event.completed.message)
      end
    end
    { kinds: kinds, sequences: sequences, text: text, whole: whole }
  end

  def retry
    both = Array.new(2) { @chats.chat(go(request_id: 'order')) }
    other = V1::ChatRequest.new(messages: [user('stop')], request_id: 'order')
    {
      turns: both.map(&:turn),
      texts: both.map { |reply| text_of(reply.completed.message) },
      refused: refused { @chats.chat(other) }
    }
  end

  def resume
    sequences = []
    turn = ''
    text = answer(@chats, go(request_id: 'story')) do |event|
      sequences << event.sequence
      turn = event.started.turn if event.started
      pause(event.delta.text) if event.delta
    end
    { turn: turn, text: text, sequences: sequences }
  end

  def cancel
    events = @chats.stream_chat(go)
    turn = til(events, :started).turn
    til(events, :delta)
    first, again = Array.new(2) { @turns.cancel_turn(V1::CancelTurnRequest.new(name: turn)) }
    { states: [first.state, again.state], text: text_of(first.message), refused: refused { rest(events) } }
  end

  def leave
    call = @chats.stream_chat(go(on_disconnect: :ON_DISCONNECT_CANCEL), return_op: true)
    events = call.execute
    name = til(events, :started).turn
    til(events, :delta)
    call.cancel
    pause(name)
    { state: @turns.get_turn(V1::GetTurnRequest.new(name: name)).state }
  end

  def busy
    session = begin_session
    first = @chats.stream_chat(go(session: session))
    running = til(first, :started).turn
    error = refused { @chats.chat(go(session: session)) }
    second = @chats.stream_chat(go(session: session, if_busy: :IF_BUSY_QUEUE))
    position = til(second, :queued).position
    pause(running)
    { refused: error, position: position, texts: [rest(first), rest(second)] }
  end

  def deadline
    @health.check(HealthRequest.new) # connects, so that the deadline is the turn's alone
    events = @chats.stream_chat(go(on_disconnect: :ON_DISCONNECT_CONTINUE), deadline: Time.now + 1)
    turn = til(events, :started).turn
    last = events.next until last&.delta
    error = refused { rest(events) }
    pause(last.delta.text)
    replay = @turns.stream_turn(V1::StreamTurnRequest.new(name: turn, after_sequence: last.sequence))
    slow = go(timeout: Google::Protobuf::Duration.new(nanos: 50_000_000))
    { deadline: error, rest: rest(replay), timeout: refused { @chats.chat(slow) } }
  end

  def unknown_session
    name = 'sessions/nobody'
    {
      read: refused { @sessions.get_session(V1::GetSessionRequest.new(name: name)) },
      streamed: refused { rest(@chats.stream_chat(go(session: name))) }
    }
  end

  def context
    fields = {
      'tea' => Google::Protobuf::Value.new(bool_value: true),
      'sugar' => Google::Protobuf::Value.new(number_value: 2.5)
    }
    json = Google::Protobuf::Value.new(struct_value: Google::Protobuf::Struct.new(fields: fields))
    name = begin_session(context: { 'city' => text('Ulm'), 'taste' => V1::ContextEntry.new(type: 'json', json: json) })
    @sessions.update_session(
      V1::UpdateSessionRequest.new(
        session: V1::Session.new(name: name),
        set_context: { 'day' => text('Monday') },
        remove_context: ['city']
      )
    )
    kept = @sessions.get_session(V1::GetSessionRequest.new(name: name)).context
    @chats.chat(go(session: name))
    taste = kept['taste'].json.struct_value.fields
    {
      entries: kept.keys.sort,
      day: kept['day'].text,
      tea: taste['tea'].bool_value,
      sugar: taste['sugar'].number_value
    }
  end

  def embeddings
    found = @embeddings.embed(V1::EmbedRequest.new(inputs: %w[abba c]))
    { vectors: found.embeddings.map { |embedding| embedding.values.to_a }, input_tokens: found.usage.input_tokens }
  end

  def tokens
    found = @models.count_tokens(V1::CountTokensRequest.new(messages: [user('one two three')]))
    { input_tokens: found.input_tokens, exact: found.exact, model: found.model }
  end

  def state
    first = @chats.chat(go).completed.message
    second = @chats.chat(V1::ChatRequest.new(messages: [user('go'), first, user('go')])).completed.message
    { texts: [text_of(first), text_of(second)] }
  end

  def check
    statuses = ['', 'contextprotocol.v1.ChatService'].map do |service|
      @health.check(HealthRequest.new(service: service)).status
    end
    { statuses: statuses, unknown: refused { @health.check(HealthRequest.new(service: 'nobody')) }[:code] }
  end

  def watch
    statuses = @health.watch(HealthRequest.new)
    pause(statuses.next.status)
    { status: statuses.next.status }
  end
end

say(Cases.new(ARGV[0]).public_send(ARGV[1]))
