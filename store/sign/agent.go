package sign

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"piimg/store"
)

// agentKey is a Signer whose private half an agent has.
type agentKey struct {
	socket string
	key    PublicKey
}

// openAgent is the signer of key, which file names, if the agent has it.
func openAgent(ctx context.Context, socket string, key PublicKey, file string) (Signer, error) {
	if socket == "" {
		return nil, fmt.Errorf("%s is a public key, and there is no agent that could have its private half: SSH_AUTH_SOCK is not set", file)
	}
	found := false
	err := withAgent(ctx, socket, func(a agent.ExtendedAgent) error {
		keys, err := a.List()
		if err != nil {
			return fmt.Errorf("ask the agent for its keys: %w", err)
		}
		for _, k := range keys {
			found = found || bytes.Equal(k.Marshal(), key.ssh.Marshal())
		}
		return nil
	})
	if err == nil && !found {
		err = fmt.Errorf("the agent does not have the key %s of %s: ssh-add it", key.ID(), file)
	}
	return agentKey{socket, key}, err
}

// withAgent talks to the agent at socket and hangs up when ctx ends.
func withAgent(ctx context.Context, socket string, talk func(agent.ExtendedAgent) error) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return fmt.Errorf("reach the agent: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer func() {
		if stop() {
			conn.Close()
		}
	}()
	if err := talk(agent.NewClient(conn)); err != nil {
		return errors.Join(ctx.Err(), err)
	}
	return nil
}

func (k agentKey) Key() PublicKey { return k.key }

func (k agentKey) Sign(ctx context.Context, namespace string, message []byte) (store.Sig, error) {
	sig := store.Sig{KeyID: k.key.ID()}
	err := withAgent(ctx, k.socket, func(a agent.ExtendedAgent) (err error) {
		sig.SSHSig, err = makeSig(k.key, namespace, message, func(text []byte) (*ssh.Signature, error) {
			s, err := a.Sign(k.key.ssh, text)
			if err != nil {
				return nil, fmt.Errorf("the agent did not sign with %s: %w", k.key.ID(), err)
			}
			return s, nil
		})
		return err
	})
	return sig, err
}
