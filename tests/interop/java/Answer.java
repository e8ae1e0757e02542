import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import io.contextprotocol.v1.AttemptSwitched;
import io.contextprotocol.v1.ChatRequest;
import io.contextprotocol.v1.ChatServiceGrpc.ChatServiceBlockingStub;
import io.contextprotocol.v1.TurnEvent;
import io.grpc.Context;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.time.Duration;
import java.util.Iterator;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ThreadLocalRandom;
import java.util.function.Consumer;

/** Has answers, whatever happens to connections and servers. */
final class Answer {
  /** After these the same request may be sent again: the provider is asked once all the same. */
  private static final Set<String> AGAIN =
      Set.of("DRAINING", "OVERLOADED", "TURN_INTERRUPTED", "STORE_UNAVAILABLE");

  private static final Metadata.Key<byte[]> DETAILS =
      Metadata.Key.of("grpc-status-details-bin", Metadata.BINARY_BYTE_MARSHALLER);
  private static final Metadata.Key<String> PUSHBACK =
      Metadata.Key.of("grpc-retry-pushback-ms", Metadata.ASCII_STRING_MARSHALLER);

  private Answer() {}

  /** What an error carries: {@link ErrorInfo}, {@link RetryInfo} … */
  static <T extends Message> Optional<T> detail(StatusRuntimeException error, Class<T> type) {
    Metadata trailers = error.getTrailers();
    if (trailers == null || !trailers.containsKey(DETAILS)) {
      return Optional.empty();
    }
    try {
      for (var any : com.google.rpc.Status.parseFrom(trailers.get(DETAILS)).getDetailsList()) {
        if (any.is(type)) {
          return Optional.of(any.unpack(type));
        }
      }
    } catch (InvalidProtocolBufferException broken) {
      throw new IllegalStateException("the details of an error cannot be read", broken);
    }
    return Optional.empty();
  }

  /** How long to wait before the same request is sent again; empty if that does not help. */
  static Optional<Duration> waitAfter(StatusRuntimeException error) {
    Optional<ErrorInfo> info = detail(error, ErrorInfo.class);
    Status.Code code = error.getStatus().getCode();
    // A busy server ends calls with CANCELLED.
    boolean busy = code == Status.Code.CANCELLED && !Context.current().isCancelled();
    boolean lost = info.isEmpty() && (code == Status.Code.UNAVAILABLE || busy);
    boolean again = info.map(ErrorInfo::getReason).filter(AGAIN::contains).isPresent();
    Metadata trailers = error.getTrailers();
    if (!(lost || again) || trailers != null && "-1".equals(trailers.get(PUSHBACK))) {
      return Optional.empty();
    }
    return Optional.of(
        detail(error, RetryInfo.class)
            .map(RetryInfo::getRetryDelay)
            .map(delay -> Duration.ofSeconds(delay.getSeconds(), delay.getNanos()))
            .orElse(Duration.ZERO));
  }

  /**
   * The text of an answer. The request has a {@code request_id}, and {@code seen} is called with each event. Give it up
   * with the deadline of a {@link Context}: the turn ends when nobody has read it for a while.
   */
  static String of(ChatServiceBlockingStub chat, ChatRequest request, Consumer<TurnEvent> seen)
      throws InterruptedException {
    ChatRequest.Builder next = request.toBuilder();
    TreeMap<Integer, String> parts = new TreeMap<>();
    long pause = 100;
    while (true) {
      try {
        Iterator<TurnEvent> events = chat.streamChat(next.build());
        while (events.hasNext()) {
          TurnEvent event = events.next();
          switch (event.getEventCase()) {
            case HEARTBEAT:
              continue;
            case DELTA:
              parts.merge(event.getDelta().getPart(), event.getDelta().getText(), String::concat);
              break;
            case SWITCHED:
              if (event.getSwitched().getMode() == AttemptSwitched.Mode.MODE_RESTARTED) {
                parts.clear();
              }
              break;
            default:
          }
          next.setAfterSequence(event.getSequence());
          pause = 100;
          seen.accept(event);
        }
        return String.join("", parts.values());
      } catch (StatusRuntimeException error) {
        Duration wait = waitAfter(error).orElseThrow(() -> error);
        Thread.sleep(wait.toMillis() + ThreadLocalRandom.current().nextLong(pause));
        pause = Math.min(pause * 2, 5000);
      }
    }
  }
}
