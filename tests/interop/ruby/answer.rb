# frozen_string_literal: true

require 'contextprotocol/v1/chat_services_pb'
require 'google/protobuf/well_known_types' # lets Any be unpacked
require 'google/rpc/error_details_pb'

# After these the same request may be sent again: the provider is asked once all the same.
AGAIN = %w[DRAINING OVERLOADED TURN_INTERRUPTED STORE_UNAVAILABLE].freeze

# What an error carries: google.rpc.ErrorInfo, google.rpc.RetryInfo … or nil.
def detail(error, type)
  found = error.to_rpc_status&.details&.find { |any| any.is(type) }
  found&.unpack(type)
end

# How many seconds to wait before the same request is sent again; nil if that does not help.
def wait_after(error)
  info = detail(error, Google::Rpc::ErrorInfo)
  # A busy server ends calls with CANCELLED.
  lost = info.nil? && (error.is_a?(GRPC::Unavailable) || error.is_a?(GRPC::Cancelled))
  final = error.metadata['grpc-retry-pushback-ms'] == '-1'
  return nil if final || !(lost || AGAIN.include?(info&.reason))

  delay = detail(error, Google::Rpc::RetryInfo)&.retry_delay
  delay ? delay.seconds + delay.nanos / 1e9 : 0
end

# The text of an answer, whatever happens to connections and servers. The request has a request_id; each event is yielded.
# Give it up with a deadline of your own, a Time: the turn ends when nobody has read it for a while.
def answer(chat, request, deadline: nil)
  parts = []
  pause = 0.1
  begin
    chat.stream_chat(request, deadline: deadline) do |event|
      next if event.event == :heartbeat

      case event.event
      when :delta
        parts[event.delta.part] = parts[event.delta.part].to_s + event.delta.text
      when :switched
        parts.clear if event.switched.mode == :MODE_RESTARTED
      end
      request.after_sequence = event.sequence
      pause = 0.1
      yield event if block_given?
    end
    parts.join
  rescue GRPC::BadStatus => e
    wait = wait_after(e) or raise
    sleep(wait + rand * pause)
    pause = [pause * 2, 5].min
    retry
  end
end
