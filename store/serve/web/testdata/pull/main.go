// Command pull reads an image from a registry as crane and as ORAS do, each by the library
// that is behind it, and prints the digest of the manifest and of every layer, with its
// title, once all bytes have come and match.
//
// With -refer it prints the documents about the image instead, those of one type where one
// is given: type, digest and content of each.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/content/memory"
	orasremote "oras.land/oras-go/v2/registry/remote"
)

const title = "org.opencontainers.image.title"

func main() {
	var err error
	switch host, repo, ref := os.Args[2], os.Args[3], os.Args[4]; os.Args[1] {
	case "crane":
		err = crane(host, repo, ref)
	case "oras":
		err = oras2(host, repo, ref)
	case "crane-refer":
		err = craneRefer(host, repo, ref, os.Args[5])
	case "oras-refer":
		err = orasRefer(host, repo, ref, os.Args[5])
	}
	if err != nil {
		log.Fatal(err)
	}
}

func craneRefer(host, repo, digest, kind string) error {
	at, err := name.NewDigest(host+"/"+repo+"@"+digest, name.Insecure)
	if err != nil {
		return err
	}
	var options []remote.Option
	if kind != "" {
		options = append(options, remote.WithFilter("artifactType", kind))
	}
	index, err := remote.Referrers(at, options...)
	if err != nil {
		return err
	}
	list, err := index.IndexManifest()
	if err != nil {
		return err
	}
	for _, d := range list.Manifests {
		doc, err := remote.Image(at.Context().Digest(d.Digest.String()))
		if err != nil {
			return err
		}
		layers, err := doc.Layers()
		if err != nil {
			return err
		}
		fmt.Println(d.ArtifactType, d.Digest)
		for _, l := range layers {
			r, err := l.Compressed() // verifies
			if err != nil {
				return err
			}
			if _, err := io.Copy(os.Stdout, r); err != nil {
				return err
			}
		}
	}
	return nil
}

func orasRefer(host, repo, digest, kind string) error {
	ctx := context.Background()
	r, err := orasremote.NewRepository(host + "/" + repo)
	if err != nil {
		return err
	}
	r.PlainHTTP = true
	image, err := r.Resolve(ctx, digest)
	if err != nil {
		return err
	}
	return r.Referrers(ctx, image, kind, func(found []ocispec.Descriptor) error {
		for _, d := range found {
			all, err := content.Successors(ctx, r, d)
			if err != nil {
				return err
			}
			fmt.Println(d.ArtifactType, d.Digest)
			for _, l := range all {
				if l.Digest == image.Digest || l.MediaType == ocispec.MediaTypeEmptyJSON {
					continue
				}
				body, err := content.FetchAll(ctx, r, l) // verifies
				if err != nil {
					return err
				}
				os.Stdout.Write(body)
			}
		}
		return nil
	})
}

func crane(host, repo, ref string) error {
	separator := ":"
	if len(ref) > 7 && ref[:7] == "sha256:" {
		separator = "@"
	}
	at, err := name.ParseReference(host+"/"+repo+separator+ref, name.Insecure)
	if err != nil {
		return err
	}
	image, err := remote.Image(at)
	if err != nil {
		return err
	}
	digest, err := image.Digest()
	if err != nil {
		return err
	}
	fmt.Println("manifest", digest)
	manifest, err := image.Manifest()
	if err != nil {
		return err
	}
	if _, err := image.RawConfigFile(); err != nil {
		return err
	}
	for _, d := range manifest.Layers {
		l, err := remote.Layer(at.Context().Digest(d.Digest.String()))
		if err != nil {
			return err
		}
		r, err := l.Compressed() // verifies
		if err != nil {
			return err
		}
		n, err := io.Copy(io.Discard, r)
		if err != nil || n != d.Size {
			return fmt.Errorf("layer %s: %d bytes, %v", d.Digest, n, err)
		}
		fmt.Println(d.Annotations[title], d.Digest)
	}
	return nil
}

func oras2(host, repo, ref string) error {
	ctx := context.Background()
	r, err := orasremote.NewRepository(host + "/" + repo)
	if err != nil {
		return err
	}
	r.PlainHTTP = true
	var tags []string
	if err := r.Tags(ctx, "", func(t []string) error { tags = append(tags, t...); return nil }); err != nil {
		return err
	}
	if len(tags) == 0 {
		return fmt.Errorf("%s has no tags", repo)
	}
	to := memory.New()
	d, err := oras.Copy(ctx, r, ref, to, ref, oras.DefaultCopyOptions) // verifies
	if err != nil {
		return err
	}
	fmt.Println("manifest", d.Digest)
	layers, err := content.Successors(ctx, to, d)
	if err != nil {
		return err
	}
	for _, l := range layers {
		if _, err := content.FetchAll(ctx, to, l); err != nil {
			return err
		}
		if l.MediaType != ocispec.MediaTypeImageConfig && l.Annotations[title] != "" {
			fmt.Println(l.Annotations[title], l.Digest)
		}
	}
	return nil
}
