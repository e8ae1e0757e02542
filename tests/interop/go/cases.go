// The cases of tests/interop in Go: cases ADDRESS CASE
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"log"
	"os"
	"sort"
	"time"

	"google.golang.org/grpc"
	health "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"

	pb "contextprotocol.io/gen/contextprotocol/v1"
)

type object = map[string]interface{}

type client struct {
	sessions   pb.SessionServiceClient
	chats      pb.ChatServiceClient
	turns      pb.TurnServiceClient
	embeddings pb.EmbeddingServiceClient
	models     pb.ModelServiceClient
	health     health.HealthClient
}

func connect(address string) *client {
	alive := keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}
	connection, err := grpc.Dial(address, grpc.WithInsecure(), grpc.WithKeepaliveParams(alive))
	must(err)
	return &client{
		sessions:   pb.NewSessionServiceClient(connection),
		chats:      pb.NewChatServiceClient(connection),
		turns:      pb.NewTurnServiceClient(connection),
		embeddings: pb.NewEmbeddingServiceClient(connection),
		models:     pb.NewModelServiceClient(connection),
		health:     health.NewHealthClient(connection),
	}
}

var (
	background = context.Background()
	input      = bufio.NewReader(os.Stdin)
	output     = json.NewEncoder(os.Stdout)
)

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// pause lets the test do what is its part.
func pause(what string) {
	must(output.Encode(object{"pause": what}))
	_, err := input.ReadString('\n')
	must(err)
}

// refused tells of the error with which a call must have ended.
func refused(err error) object {
	if err == nil || err == io.EOF {
		log.Fatal("the call was not refused")
	}
	found := object{"code": int(status.Code(err)), "reason": "", "metadata": object{}}
	if info := errorInfo(err); info != nil {
		found["reason"], found["metadata"] = info.Reason, info.Metadata
	}
	return found
}

func user(text string) *pb.Message {
	return &pb.Message{Role: pb.Role_ROLE_USER, Parts: []*pb.Part{{Part: &pb.Part_Text{Text: text}}}}
}

func textOf(message *pb.Message) (text string) {
	for _, part := range message.Parts {
		text += part.GetText()
	}
	return text
}

func text(value string) *pb.ContextEntry {
	return &pb.ContextEntry{Type: "text", Value: &pb.ContextEntry_Text{Text: value}}
}

// goOn is a request that says "go".
func goOn() *pb.ChatRequest {
	return &pb.ChatRequest{Messages: []*pb.Message{user("go")}}
}

func in(session string) *pb.ChatRequest {
	request := goOn()
	request.Session = session
	return request
}

type events interface {
	Recv() (*pb.TurnEvent, error)
}

func (c *client) stream(ctx context.Context, request *pb.ChatRequest) events {
	stream, err := c.chats.StreamChat(ctx, request)
	must(err)
	return stream
}

// rest reads a stream to its end: the text that comes, and the error with which it ends, if it fails.
func rest(stream events) (text string, err error) {
	for {
		event, err := stream.Recv()
		if err == io.EOF {
			return text, nil
		} else if err != nil {
			return text, err
		}
		text += event.GetDelta().GetText()
	}
}

// until reads on until an event is of the wanted kind.
func until(stream events, wanted func(*pb.TurnEvent) bool) *pb.TurnEvent {
	for {
		event, err := stream.Recv()
		must(err)
		if wanted(event) {
			return event
		}
	}
}

func started(event *pb.TurnEvent) bool { return event.GetStarted() != nil }
func delta(event *pb.TurnEvent) bool   { return event.GetDelta() != nil }
func queued(event *pb.TurnEvent) bool  { return event.GetQueued() != nil }

func (c *client) create(session *pb.Session) string {
	created, err := c.sessions.CreateSession(background, &pb.CreateSessionRequest{SessionId: "interop", Session: session})
	must(err)
	return created.Name
}

func (c *client) cancel(turn string) *pb.Turn {
	stopped, err := c.turns.CancelTurn(background, &pb.CancelTurnRequest{Name: turn})
	must(err)
	return stopped
}

var cases = map[string]func(*client) object{
	"create": func(c *client) object {
		request := &pb.CreateSessionRequest{
			SessionId: "interop",
			Session: &pb.Session{
				Labels:            map[string]string{"team": "blue"},
				SystemInstruction: "Be brief.",
				Ttl:               durationpb.New(time.Hour),
			},
			RequestId: "begin",
		}
		first, err := c.sessions.CreateSession(background, request)
		must(err)
		again, err := c.sessions.CreateSession(background, request)
		must(err)
		session, err := c.sessions.GetSession(background, &pb.GetSessionRequest{Name: first.Name})
		must(err)
		return object{
			"names":              []string{first.Name, again.Name},
			"labels":             session.Labels,
			"system_instruction": session.SystemInstruction,
			"ttl":                session.Ttl.AsDuration().Seconds(),
			"same":               session.Uid == first.Uid && session.Etag == again.Etag,
		}
	},

	"chat": func(c *client) object {
		session := c.create(nil)
		reply, err := c.chats.Chat(background, &pb.ChatRequest{
			Session:  session,
			Messages: []*pb.Message{user("Grüß Gott 👋")},
			Config:   &pb.GenerationConfig{Temperature: proto.Float64(0)},
		})
		must(err)
		listed, err := c.sessions.ListMessages(background, &pb.ListMessagesRequest{Parent: session})
		must(err)
		var history [][]string
		for _, message := range listed.Messages {
			history = append(history, []string{message.Role.String(), textOf(message)})
		}
		return object{
			"text":          textOf(reply.Completed.Message),
			"finish_reason": reply.Completed.FinishReason.String(),
			"history":       history,
		}
	},

	"stream": func(c *client) object {
		var kinds []string
		var sequences []uint32
		var text, whole string
		stream := c.stream(background, goOn())
		for {
			event, err := stream.Recv()
			if err == io.EOF {
				return object{"kinds": kinds, "sequences": sequences, "text": text, "whole": whole}
			}
			must(err)
			reflected := event.ProtoReflect()
			kind := reflected.WhichOneof(reflected.Descriptor().Oneofs().ByName("event"))
			kinds = append(kinds, string(kind.Name()))
			sequences = append(sequences, event.Sequence)
			switch of := event.Event.(type) {
			case *pb.TurnEvent_Delta:
				text += of.Delta.GetText()
				pause(of.Delta.GetText())
			case *pb.TurnEvent_Completed:
				whole = textOf(of.Completed.Message)
			}
		}
	},

	"retry": func(c *client) object {
		request := goOn()
		request.RequestId = "order"
		first, err := c.chats.Chat(background, request)
		must(err)
		again, err := c.chats.Chat(background, request)
		must(err)
		_, err = c.chats.Chat(background, &pb.ChatRequest{Messages: []*pb.Message{user("stop")}, RequestId: "order"})
		return object{
			"turns":   []string{first.Turn, again.Turn},
			"texts":   []string{textOf(first.Completed.Message), textOf(again.Completed.Message)},
			"refused": refused(err),
		}
	},

	"resume": func(c *client) object {
		var sequences []uint32
		var turn string
		request := goOn()
		request.RequestId = "story"
		text, err := answer(background, c.chats, request, func(event *pb.TurnEvent) {
			sequences = append(sequences, event.Sequence)
			if started(event) {
				turn = event.GetStarted().Turn
			} else if delta(event) {
				pause(event.GetDelta().GetText())
			}
		})
		must(err)
		return object{"turn": turn, "text": text, "sequences": sequences}
	},

	"cancel": func(c *client) object {
		stream := c.stream(background, goOn())
		turn := until(stream, started).GetStarted().Turn
		until(stream, delta)
		first, again := c.cancel(turn), c.cancel(turn)
		_, err := rest(stream)
		return object{
			"states":  []string{first.State.String(), again.State.String()},
			"text":    textOf(first.Message),
			"refused": refused(err),
		}
	},

	"leave": func(c *client) object {
		request := goOn()
		request.OnDisconnect = pb.OnDisconnect_ON_DISCONNECT_CANCEL
		ctx, leave := context.WithCancel(background)
		stream := c.stream(ctx, request)
		name := until(stream, started).GetStarted().Turn
		until(stream, delta)
		leave()
		pause(name)
		turn, err := c.turns.GetTurn(background, &pb.GetTurnRequest{Name: name})
		must(err)
		return object{"state": turn.State.String()}
	},

	"busy": func(c *client) object {
		session := c.create(nil)
		first := c.stream(background, in(session))
		running := until(first, started).GetStarted().Turn
		_, busy := c.chats.Chat(background, in(session))
		waiting := in(session)
		waiting.IfBusy = pb.IfBusy_IF_BUSY_QUEUE
		second := c.stream(background, waiting)
		position := until(second, queued).GetQueued().Position
		pause(running)
		one, err := rest(first)
		must(err)
		two, err := rest(second)
		must(err)
		return object{"refused": refused(busy), "position": position, "texts": []string{one, two}}
	},

	"deadline": func(c *client) object {
		_, err := c.health.Check(background, &health.HealthCheckRequest{}) // connects: the deadline is the turn's alone
		must(err)
		request := goOn()
		request.OnDisconnect = pb.OnDisconnect_ON_DISCONNECT_CONTINUE
		ctx, leave := context.WithTimeout(background, time.Second)
		defer leave()
		stream := c.stream(ctx, request)
		turn := until(stream, started).GetStarted().Turn
		last := until(stream, delta)
		_, deadline := rest(stream)
		pause(last.GetDelta().GetText())
		replay, err := c.turns.StreamTurn(background, &pb.StreamTurnRequest{Name: turn, AfterSequence: &last.Sequence})
		must(err)
		text, err := rest(replay)
		must(err)
		slow := goOn()
		slow.Timeout = durationpb.New(50 * time.Millisecond)
		_, timeout := c.chats.Chat(background, slow)
		return object{"deadline": refused(deadline), "rest": text, "timeout": refused(timeout)}
	},

	"unknown_session": func(c *client) object {
		const name = "sessions/nobody"
		_, read := c.sessions.GetSession(background, &pb.GetSessionRequest{Name: name})
		_, streamed := rest(c.stream(background, in(name)))
		return object{"read": refused(read), "streamed": refused(streamed)}
	},

	"context": func(c *client) object {
		taste, err := structpb.NewValue(object{"tea": true, "sugar": 2.5})
		must(err)
		name := c.create(&pb.Session{Context: map[string]*pb.ContextEntry{
			"city":  text("Ulm"),
			"taste": {Type: "json", Value: &pb.ContextEntry_Json{Json: taste}},
		}})
		_, err = c.sessions.UpdateSession(background, &pb.UpdateSessionRequest{
			Session:       &pb.Session{Name: name},
			SetContext:    map[string]*pb.ContextEntry{"day": text("Monday")},
			RemoveContext: []string{"city"},
		})
		must(err)
		session, err := c.sessions.GetSession(background, &pb.GetSessionRequest{Name: name})
		must(err)
		_, err = c.chats.Chat(background, in(name))
		must(err)
		var entries []string
		for entry := range session.Context {
			entries = append(entries, entry)
		}
		sort.Strings(entries)
		kept := session.Context["taste"].GetJson().GetStructValue().Fields
		return object{
			"entries": entries,
			"day":     session.Context["day"].GetText(),
			"tea":     kept["tea"].GetBoolValue(),
			"sugar":   kept["sugar"].GetNumberValue(),
		}
	},

	"embeddings": func(c *client) object {
		found, err := c.embeddings.Embed(background, &pb.EmbedRequest{Inputs: []string{"abba", "c"}})
		must(err)
		var vectors [][]float32
		for _, embedding := range found.Embeddings {
			vectors = append(vectors, embedding.Values)
		}
		return object{"vectors": vectors, "input_tokens": found.Usage.InputTokens}
	},

	"tokens": func(c *client) object {
		found, err := c.models.CountTokens(background, &pb.CountTokensRequest{Messages: []*pb.Message{user("one two three")}})
		must(err)
		return object{"input_tokens": found.InputTokens, "exact": found.Exact, "model": found.Model}
	},

	"state": func(c *client) object {
		request := goOn()
		first, err := c.chats.Chat(background, request)
		must(err)
		request.Messages = append(request.Messages, first.Completed.Message, user("go"))
		second, err := c.chats.Chat(background, request)
		must(err)
		return object{"texts": []string{textOf(first.Completed.Message), textOf(second.Completed.Message)}}
	},

	"check": func(c *client) object {
		var statuses []string
		for _, service := range []string{"", "contextprotocol.v1.ChatService"} {
			found, err := c.health.Check(background, &health.HealthCheckRequest{Service: service})
			must(err)
			statuses = append(statuses, found.Status.String())
		}
		_, err := c.health.Check(background, &health.HealthCheckRequest{Service: "nobody"})
		return object{"statuses": statuses, "unknown": int(status.Code(err))}
	},

	"watch": func(c *client) object {
		watch, err := c.health.Watch(background, &health.HealthCheckRequest{})
		must(err)
		first, err := watch.Recv()
		must(err)
		pause(first.Status.String())
		next, err := watch.Recv()
		must(err)
		return object{"status": next.Status.String()}
	},

	"load": func(c *client) object { return load(c.chats, input, output) },
}

func main() {
	must(output.Encode(cases[os.Args[2]](connect(os.Args[1]))))
}
