package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"math/rand"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	pb "contextprotocol.io/gen/contextprotocol/v1"
)

// counted is a client that counts what it sends.
type counted struct {
	pb.ChatServiceClient
	calls, resumed int64
}

func (c *counted) Chat(ctx context.Context, request *pb.ChatRequest, options ...grpc.CallOption) (*pb.ChatResponse, error) {
	atomic.AddInt64(&c.calls, 1)
	return c.ChatServiceClient.Chat(ctx, request, options...)
}

func (c *counted) StreamChat(ctx context.Context, request *pb.ChatRequest, options ...grpc.CallOption) (pb.ChatService_StreamChatClient, error) {
	atomic.AddInt64(&c.calls, 1)
	if request.AfterSequence != nil {
		atomic.AddInt64(&c.resumed, 1)
	}
	return c.ChatServiceClient.StreamChat(ctx, request, options...)
}

// job is a line that is read: a turn to ask for.
type job struct {
	Text      string
	Session   string
	RequestID string `json:"request_id"`
	Streamed  bool
	Timeout   float64
}

// load asks for a turn for each line that it reads, many at once, writes a line for each answer, and tells what had to
// be sent again for all of them.
func load(chats pb.ChatServiceClient, lines *bufio.Reader, output *json.Encoder) object {
	chat := &counted{ChatServiceClient: chats}
	var running sync.WaitGroup
	var writing sync.Mutex
	var turns int64
	for read := json.NewDecoder(lines); ; turns++ {
		var job job
		if err := read.Decode(&job); err == io.EOF {
			break
		} else {
			must(err)
		}
		running.Add(1)
		go func() {
			defer running.Done()
			said := object{"request_id": job.RequestID}
			if text, err := job.ask(chat); err == nil {
				said["text"] = text
			} else {
				said["error"] = err.Error()
			}
			writing.Lock()
			defer writing.Unlock()
			must(output.Encode(said))
		}()
	}
	running.Wait()
	return object{"again": chat.calls - turns, "resumed": chat.resumed}
}

func (job *job) ask(chat pb.ChatServiceClient) (string, error) {
	ctx, leave := context.WithTimeout(background, time.Duration(job.Timeout*float64(time.Second)))
	defer leave()
	request := &pb.ChatRequest{
		Session:   job.Session,
		Messages:  []*pb.Message{user(job.Text)},
		RequestId: job.RequestID,
	}
	if job.Streamed {
		return answer(ctx, chat, request, func(*pb.TurnEvent) {})
	}
	return whole(ctx, chat, request)
}

// whole returns the text of an answer in one piece.
func whole(ctx context.Context, chat pb.ChatServiceClient, request *pb.ChatRequest) (string, error) {
	for pause := 100 * time.Millisecond; ; pause *= 2 {
		var trailer metadata.MD
		reply, err := chat.Chat(ctx, request, grpc.Trailer(&trailer))
		if err == nil {
			return textOf(reply.Completed.Message), nil
		}
		wait, helps := waitAfter(err, trailer)
		if !helps {
			return "", err
		}
		select {
		case <-time.After(wait + time.Duration(rand.Int63n(int64(pause)))):
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}
