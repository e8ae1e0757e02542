import com.google.gson.Gson;
import com.google.protobuf.Duration;
import com.google.protobuf.Struct;
import com.google.protobuf.Value;
import com.google.rpc.ErrorInfo;
import io.contextprotocol.v1.CancelTurnRequest;
import io.contextprotocol.v1.ChatRequest;
import io.contextprotocol.v1.ChatResponse;
import io.contextprotocol.v1.ChatServiceGrpc;
import io.contextprotocol.v1.ChatServiceGrpc.ChatServiceBlockingStub;
import io.contextprotocol.v1.ContextEntry;
import io.contextprotocol.v1.CountTokensRequest;
import io.contextprotocol.v1.CreateSessionRequest;
import io.contextprotocol.v1.EmbedRequest;
import io.contextprotocol.v1.EmbeddingServiceGrpc;
import io.contextprotocol.v1.GenerationConfig;
import io.contextprotocol.v1.GetSessionRequest;
import io.contextprotocol.v1.GetTurnRequest;
import io.contextprotocol.v1.IfBusy;
import io.contextprotocol.v1.ListMessagesRequest;
import io.contextprotocol.v1.Message;
import io.contextprotocol.v1.ModelServiceGrpc;
import io.contextprotocol.v1.OnDisconnect;
import io.contextprotocol.v1.Part;
import io.contextprotocol.v1.Role;
import io.contextprotocol.v1.Session;
import io.contextprotocol.v1.SessionServiceGrpc;
import io.contextprotocol.v1.SessionServiceGrpc.SessionServiceBlockingStub;
import io.contextprotocol.v1.StreamTurnRequest;
import io.contextprotocol.v1.Turn;
import io.contextprotocol.v1.TurnEvent;
import io.contextprotocol.v1.TurnEvent.EventCase;
import io.contextprotocol.v1.TurnServiceGrpc;
import io.contextprotocol.v1.TurnServiceGrpc.TurnServiceBlockingStub;
import io.contextprotocol.v1.UpdateSessionRequest;
import io.grpc.Context;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.StatusRuntimeException;
import io.grpc.health.v1.HealthCheckRequest;
import io.grpc.health.v1.HealthCheckResponse;
import io.grpc.health.v1.HealthGrpc;
import io.grpc.health.v1.HealthGrpc.HealthBlockingStub;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;

/** The cases of tests/interop in Java: java Cases ADDRESS CASE. */
final class Cases {
  private static final PrintStream OUTPUT = new PrintStream(System.out, true, StandardCharsets.UTF_8);
  private static final BufferedReader INPUT = new BufferedReader(new InputStreamReader(System.in));

  private final SessionServiceBlockingStub sessions;
  private final ChatServiceBlockingStub chats;
  private final TurnServiceBlockingStub turns;
  private final EmbeddingServiceGrpc.EmbeddingServiceBlockingStub embeddings;
  private final ModelServiceGrpc.ModelServiceBlockingStub models;
  private final HealthBlockingStub health;

  private Cases(ManagedChannel channel) {
    sessions = SessionServiceGrpc.newBlockingStub(channel);
    chats = ChatServiceGrpc.newBlockingStub(channel);
    turns = TurnServiceGrpc.newBlockingStub(channel);
    embeddings = EmbeddingServiceGrpc.newBlockingStub(channel);
    models = ModelServiceGrpc.newBlockingStub(channel);
    health = HealthGrpc.newBlockingStub(channel);
  }

  private static void say(Map<String, ?> line) {
    OUTPUT.println(new Gson().toJson(line));
  }

  /** Lets the test do what is its part. */
  private static void pause(String what) {
    say(Map.of("pause", what));
    try {
      INPUT.readLine();
    } catch (IOException gone) {
      throw new IllegalStateException(gone);
    }
  }

  /** The error with which a call must end. */
  private static Map<String, Object> refused(Runnable call) {
    try {
      call.run();
    } catch (StatusRuntimeException error) {
      ErrorInfo info = Answer.detail(error, ErrorInfo.class).orElse(ErrorInfo.getDefaultInstance());
      int code = error.getStatus().getCode().value();
      return Map.of("code", code, "reason", info.getReason(), "metadata", info.getMetadataMap());
    }
    throw new IllegalStateException("the call was not refused");
  }

  private static Message user(String text) {
    return Message.newBuilder().setRole(Role.ROLE_USER).addParts(Part.newBuilder().setText(text)).build();
  }

  private static String textOf(Message message) {
    return message.getPartsList().stream().map(Part::getText).collect(Collectors.joining());
  }

  private static ChatRequest.Builder go() {
    return ChatRequest.newBuilder().addMessages(user("go"));
  }

  private static ContextEntry text(String value) {
    return ContextEntry.newBuilder().setType("text").setText(value).build();
  }

  /** Reads on until an event of that kind. */
  private static TurnEvent until(Iterator<TurnEvent> events, EventCase kind) {
    TurnEvent event = events.next();
    while (event.getEventCase() != kind) {
      event = events.next();
    }
    return event;
  }

  /** Reads a stream to its end: the text that comes. */
  private static String rest(Iterator<TurnEvent> events) {
    StringBuilder text = new StringBuilder();
    events.forEachRemaining(event -> text.append(event.getDelta().getText()));
    return text.toString();
  }

  private String begin(Session session) {
    return sessions
        .createSession(CreateSessionRequest.newBuilder().setSessionId("interop").setSession(session).build())
        .getName();
  }

  private Session get(String name) {
    return sessions.getSession(GetSessionRequest.newBuilder().setName(name).build());
  }

  private Turn stop(String name) {
    return turns.cancelTurn(CancelTurnRequest.newBuilder().setName(name).build());
  }

  private HealthCheckResponse check(String service) {
    return health.check(HealthCheckRequest.newBuilder().setService(service).build());
  }

  private Map<String, Object> create() {
    Session wanted =
        Session.newBuilder()
            .putLabels("team", "blue")
            .setSystemInstruction("Be brief.")
            .setTtl(Duration.newBuilder().setSeconds(3600))
            .build();
    CreateSessionRequest request =
        CreateSessionRequest.newBuilder().setSessionId("interop").setSession(wanted).setRequestId("begin").build();
    Session first = sessions.createSession(request);
    Session again = sessions.createSession(request);
    Session session = get(first.getName());
    return Map.of(
        "names", List.of(first.getName(), again.getName()),
        "labels", session.getLabelsMap(),
        "system_instruction", session.getSystemInstruction(),
        "ttl", session.getTtl().getSeconds(),
        "same", session.getUid().equals(first.getUid()) && session.getEtag().equals(again.getEtag()));
  }

  private Map<String, Object> chat() {
    String session = begin(Session.getDefaultInstance());
    ChatRequest request =
        ChatRequest.newBuilder()
            .setSession(session)
            .addMessages(user("Grüß Gott 👋"))
            .setConfig(GenerationConfig.newBuilder().setTemperature(0))
            .build();
    var completed = chats.chat(request).getCompleted();
    var listed = sessions.listMessages(ListMessagesRequest.newBuilder().setParent(session).build());
    List<List<String>> history = new ArrayList<>();
    for (Message message : listed.getMessagesList()) {
      history.add(List.of(message.getRole().name(), textOf(message)));
    }
    return Map.of(
        "text", textOf(completed.getMessage()),
        "finish_reason", completed.getFinishReason().name(),
        "history", history);
  }

  private Map<String, Object> stream() {
    List<String> kinds = new ArrayList<>();
    List<Integer> sequences = new ArrayList<>();
    StringBuilder text = new StringBuilder();
    String whole = "";
    Iterator<TurnEvent> events = chats.streamChat(go().build());
    while (events.hasNext()) {
      TurnEvent event = events.next();
      kinds.add(event.getEventCase().name());
      sequences.add(event.getSequence());
      if (event.hasDelta()) {
        text.append(event.getDelta().getText());
        pause(event.getDelta().getText());
      } else if (event.hasCompleted()) {
        whole = textOf(event.getCompleted().getMessage());
      }
    }
    return Map.of("kinds", kinds, "sequences", sequences, "text", text.toString(), "whole", whole);
  }

  private Map<String, Object> retry() {
    ChatRequest request = go().setRequestId("order").build();
    ChatResponse first = chats.chat(request);
    ChatResponse again = chats.chat(request);
    ChatRequest other = ChatRequest.newBuilder().addMessages(user("stop")).setRequestId("order").build();
    return Map.of(
        "turns", List.of(first.getTurn(), again.getTurn()),
        "texts", List.of(textOf(first.getCompleted().getMessage()), textOf(again.getCompleted().getMessage())),
        "refused", refused(() -> chats.chat(other)));
  }

  private Map<String, Object> resume() {
    List<Integer> sequences = new ArrayList<>();
    List<String> turn = new ArrayList<>();
    String text;
    try {
      text =
          Answer.of(
              chats,
              go().setRequestId("story").build(),
              event -> {
                sequences.add(event.getSequence());
                if (event.hasStarted()) {
                  turn.add(event.getStarted().getTurn());
                } else if (event.hasDelta()) {
                  pause(event.getDelta().getText());
                }
              });
    } catch (InterruptedException stopped) {
      throw new IllegalStateException(stopped);
    }
    return Map.of("turn", turn.get(0), "text", text, "sequences", sequences);
  }

  private Map<String, Object> cancel() {
    Iterator<TurnEvent> events = chats.streamChat(go().build());
    String name = until(events, EventCase.STARTED).getStarted().getTurn();
    until(events, EventCase.DELTA);
    Turn first = stop(name);
    Turn again = stop(name);
    return Map.of(
        "states", List.of(first.getState().name(), again.getState().name()),
        "text", textOf(first.getMessage()),
        "refused", refused(() -> rest(events)));
  }

  private Map<String, Object> leave() {
    ChatRequest request = go().setOnDisconnect(OnDisconnect.ON_DISCONNECT_CANCEL).build();
    List<String> name = new ArrayList<>();
    // The calls of a context end with it.
    try (Context.CancellableContext context = Context.current().withCancellation()) {
      context.run(
          () -> {
            Iterator<TurnEvent> events = chats.streamChat(request);
            name.add(until(events, EventCase.STARTED).getStarted().getTurn());
            until(events, EventCase.DELTA);
          });
    }
    pause(name.get(0));
    return Map.of("state", turns.getTurn(GetTurnRequest.newBuilder().setName(name.get(0)).build()).getState().name());
  }

  private Map<String, Object> busy() {
    String session = begin(Session.getDefaultInstance());
    ChatRequest request = go().setSession(session).build();
    Iterator<TurnEvent> first = chats.streamChat(request);
    String running = until(first, EventCase.STARTED).getStarted().getTurn();
    Map<String, Object> refused = refused(() -> chats.chat(request));
    Iterator<TurnEvent> second = chats.streamChat(request.toBuilder().setIfBusy(IfBusy.IF_BUSY_QUEUE).build());
    int position = until(second, EventCase.QUEUED).getQueued().getPosition();
    pause(running);
    return Map.of("refused", refused, "position", position, "texts", List.of(rest(first), rest(second)));
  }

  private Map<String, Object> deadline() {
    check(""); // connects, so that the deadline is the turn's alone
    ChatRequest request = go().setOnDisconnect(OnDisconnect.ON_DISCONNECT_CONTINUE).build();
    Iterator<TurnEvent> events = chats.withDeadlineAfter(1, TimeUnit.SECONDS).streamChat(request);
    String name = until(events, EventCase.STARTED).getStarted().getTurn();
    TurnEvent last = until(events, EventCase.DELTA);
    Map<String, Object> deadline = refused(() -> rest(events));
    pause(last.getDelta().getText());
    StreamTurnRequest replay =
        StreamTurnRequest.newBuilder().setName(name).setAfterSequence(last.getSequence()).build();
    ChatRequest slow = go().setTimeout(Duration.newBuilder().setNanos(50_000_000)).build();
    return Map.of(
        "deadline", deadline,
        "rest", rest(turns.streamTurn(replay)),
        "timeout", refused(() -> chats.chat(slow)));
  }

  private Map<String, Object> unknownSession() {
    String name = "sessions/nobody";
    return Map.of(
        "read", refused(() -> get(name)),
        "streamed", refused(() -> rest(chats.streamChat(go().setSession(name).build()))));
  }

  private Map<String, Object> context() {
    Struct taste =
        Struct.newBuilder()
            .putFields("tea", Value.newBuilder().setBoolValue(true).build())
            .putFields("sugar", Value.newBuilder().setNumberValue(2.5).build())
            .build();
    ContextEntry json =
        ContextEntry.newBuilder().setType("json").setJson(Value.newBuilder().setStructValue(taste)).build();
    String name = begin(Session.newBuilder().putContext("city", text("Ulm")).putContext("taste", json).build());
    sessions.updateSession(
        UpdateSessionRequest.newBuilder()
            .setSession(Session.newBuilder().setName(name))
            .putSetContext("day", text("Monday"))
            .addRemoveContext("city")
            .build());
    Map<String, ContextEntry> kept = get(name).getContextMap();
    chats.chat(go().setSession(name).build());
    Map<String, Value> fields = kept.get("taste").getJson().getStructValue().getFieldsMap();
    return Map.of(
        "entries", new TreeSet<>(kept.keySet()),
        "day", kept.get("day").getText(),
        "tea", fields.get("tea").getBoolValue(),
        "sugar", fields.get("sugar").getNumberValue());
  }

  private Map<String, Object> embeddings() {
    var found = embeddings.embed(EmbedRequest.newBuilder().addInputs("abba").addInputs("c").build());
    List<List<Float>> vectors = new ArrayList<>();
    found.getEmbeddingsList().forEach(embedding -> vectors.add(embedding.getValuesList()));
    return Map.of("vectors", vectors, "input_tokens", found.getUsage().getInputTokens());
  }

  private Map<String, Object> tokens() {
    var found = models.countTokens(CountTokensRequest.newBuilder().addMessages(user("one two three")).build());
    return Map.of("input_tokens", found.getInputTokens(), "exact", found.getExact(), "model", found.getModel());
  }

  private Map<String, Object> state() {
    ChatRequest.Builder request = go();
    Message first = chats.chat(request.build()).getCompleted().getMessage();
    request.addMessages(first).addMessages(user("go"));
    Message second = chats.chat(request.build()).getCompleted().getMessage();
    return Map.of("texts", List.of(textOf(first), textOf(second)));
  }

  private Map<String, Object> checks() {
    List<String> statuses = new ArrayList<>();
    for (String service : List.of("", "contextprotocol.v1.ChatService")) {
      statuses.add(check(service).getStatus().name());
    }
    return Map.of("statuses", statuses, "unknown", refused(() -> check("nobody")).get("code"));
  }

  private Map<String, Object> watch() {
    Iterator<HealthCheckResponse> statuses = health.watch(HealthCheckRequest.getDefaultInstance());
    pause(statuses.next().getStatus().name());
    return Map.of("status", statuses.next().getStatus().name());
  }

  private Map<String, Object> run(String name) {
    switch (name) {
      case "create":
        return create();
      case "chat":
        return chat();
      case "stream":
        return stream();
      case "retry":
        return retry();
      case "resume":
        return resume();
      case "cancel":
        return cancel();
      case "leave":
        return leave();
      case "busy":
        return busy();
      case "deadline":
        return deadline();
      case "unknown_session":
        return unknownSession();
      case "context":
        return context();
      case "embeddings":
        return embeddings();
      case "tokens":
        return tokens();
      case "state":
        return state();
      case "check":
        return checks();
      case "watch":
        return watch();
      default:
        throw new IllegalArgumentException(name);
    }
  }

  public static void main(String[] arguments) {
    ManagedChannel channel =
        ManagedChannelBuilder.forTarget(arguments[0])
            .usePlaintext()
            .keepAliveTime(30, TimeUnit.SECONDS)
            .keepAliveTimeout(10, TimeUnit.SECONDS)
            .build();
    say(new Cases(channel).run(arguments[1]));
    System.exit(0); // with the streams that a case has left open
  }
}
