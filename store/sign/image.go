package sign

import (
	"context"
	"fmt"
	"time"

	"piimg/store"
)

// The types of a signature of an image and of its content, for other tools.
const (
	SignatureType = "application/vnd.piimg.signature.v1"
	sshsigType    = "application/vnd.piimg.sshsig"
)

// Image signs the manifest of an image, as ssh-keygen would do with the blob of its digest,
// and stores the signature beside it. Signing again with the same key changes nothing.
func Image(ctx context.Context, s *store.Store, image store.Digest, by Signer) error {
	subject, manifest, err := readManifest(ctx, s, image)
	if err != nil {
		return fmt.Errorf("sign image %s: %w", image.Short(), err)
	}
	sig, err := by.Sign(ctx, ImageNamespace, manifest)
	if err != nil {
		return fmt.Errorf("sign image %s: %w", image.Short(), err)
	}
	content := store.Bytes([]byte(sig.SSHSig))
	if _, err := s.Blobs().Put(ctx, content); err != nil {
		return err
	}
	doc, err := store.EncodeReferrer(store.Referrer{
		Subject: subject, Type: SignatureType, Media: sshsigType, Content: []store.Blob{content.Blob()},
	})
	if err != nil {
		return err
	}
	_, err = s.PutReferrer(ctx, doc)
	return err
}

// readManifest reads the bytes that a signature of an image covers.
func readManifest(ctx context.Context, s *store.Store, image store.Digest) (store.Blob, []byte, error) {
	b, err := s.Blobs().Find(ctx, image)
	if err != nil {
		return b, nil, err
	}
	doc, err := s.Blobs().Read(ctx, b, store.MaxManifestLen)
	if err != nil {
		return b, nil, err
	}
	_, err = store.DecodeManifest(doc)
	return b, doc, err
}

// ImageSigs are the signatures that lie beside an image, unchecked, and the bytes that they
// should cover. Those that cannot be read come as texts that say why: whoever can write to
// the store can add some.
func ImageSigs(ctx context.Context, s *store.Store, image store.Digest) (manifest []byte, sigs []store.Sig, bad []string, err error) {
	_, manifest, err = readManifest(ctx, s, image)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("image %s: %w", image.Short(), err)
	}
	for r, err := range s.Referrers(ctx, image) {
		if err != nil && (r.Digest.IsZero() || ctx.Err() != nil) {
			return nil, nil, nil, err
		}
		if err != nil {
			bad = append(bad, err.Error())
			continue
		}
		if r.Type != SignatureType {
			continue
		}
		sig, err := readSig(ctx, s, r)
		if err != nil {
			bad = append(bad, fmt.Sprintf("referrer %s: %v", r.Digest.Short(), err))
			continue
		}
		sigs = append(sigs, sig)
	}
	return manifest, sigs, bad, nil
}

func readSig(ctx context.Context, s *store.Store, r store.Referrer) (store.Sig, error) {
	if len(r.Content) != 1 {
		return store.Sig{}, fmt.Errorf("%d signatures in one: %w", len(r.Content), store.ErrCorrupt)
	}
	doc, err := s.Blobs().Read(ctx, r.Content[0], maxSigLen)
	if err != nil {
		return store.Sig{}, err
	}
	_, key, err := parseSig(string(doc))
	if err != nil {
		return store.Sig{}, fmt.Errorf("%w: %w", err, store.ErrCorrupt)
	}
	return store.Sig{KeyID: key.ID(), SSHSig: string(doc)}, nil
}

// CheckImage says which keys have signed an image in role. They have to be valid now: an
// image knows no time.
func (t *Trust) CheckImage(ctx context.Context, s *store.Store, image store.Digest, role string, now time.Time) (Verdict, error) {
	manifest, sigs, bad, err := ImageSigs(ctx, s, image)
	if err != nil {
		return Verdict{}, err
	}
	v := t.Check(Claim{ImageNamespace, manifest, role, now, now}, sigs)
	v.Bad = append(v.Bad, bad...)
	return v, nil
}
