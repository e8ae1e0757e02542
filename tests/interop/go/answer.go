package main

import (
	"context"
	"math/rand"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "contextprotocol.io/gen/contextprotocol/v1"
)

// After these the same request may be sent again: the provider is asked once all the same.
var again = map[string]bool{"DRAINING": true, "OVERLOADED": true, "TURN_INTERRUPTED": true, "STORE_UNAVAILABLE": true}

// errorInfo returns what the service says of an error; nil if the error is not the service's.
func errorInfo(err error) *errdetails.ErrorInfo {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			return info
		}
	}
	return nil
}

// waitAfter returns how long to wait before the same request is sent again, and whether that can help.
func waitAfter(err error, trailer metadata.MD) (wait time.Duration, helps bool) {
	info := errorInfo(err)
	code := status.Code(err)
	lost := info == nil && (code == codes.Unavailable || code == codes.Canceled) // a busy server ends calls with the latter
	final := strings.Join(trailer.Get("grpc-retry-pushback-ms"), "") == "-1"
	if final || !(lost || again[info.GetReason()]) {
		return 0, false
	}
	for _, detail := range status.Convert(err).Details() {
		if retry, ok := detail.(*errdetails.RetryInfo); ok {
			wait = retry.GetRetryDelay().AsDuration()
		}
	}
	return wait, true
}

// answer returns the text of an answer, whatever happens to connections and servers. The request has a request_id, and
// seen is called with each event. Give it up with a context of your own: the turn ends when nobody has read it for a
// while.
func answer(ctx context.Context, chat pb.ChatServiceClient, request *pb.ChatRequest, seen func(*pb.TurnEvent)) (string, error) {
	var parts []string
	const shortest, longest = 100 * time.Millisecond, 5 * time.Second
	pause := shortest

	take := func(event *pb.TurnEvent) (done bool) {
		switch event.Event.(type) {
		case *pb.TurnEvent_Heartbeat:
			return false
		case *pb.TurnEvent_Delta:
			part := int(event.GetDelta().Part)
			for len(parts) <= part {
				parts = append(parts, "")
			}
			parts[part] += event.GetDelta().GetText()
		case *pb.TurnEvent_Switched:
			if event.GetSwitched().Mode == pb.AttemptSwitched_MODE_RESTARTED {
				parts = nil
			}
		}
		request.AfterSequence = proto.Uint32(event.Sequence)
		pause = shortest
		seen(event)
		return event.GetCompleted() != nil
	}

	for {
		var trailer metadata.MD
		stream, err := chat.StreamChat(ctx, request, grpc.Trailer(&trailer))
		for err == nil {
			var event *pb.TurnEvent
			if event, err = stream.Recv(); err == nil && take(event) {
				return strings.Join(parts, ""), nil
			}
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
		if pause *= 2; pause > longest {
			pause = longest
		}
	}
}
