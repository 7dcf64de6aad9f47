package kernel

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"piimg/pipeline"
	"piimg/pipeline/format/overlaymap"
)

const mapName = "overlay_map.dtb"

// overlayNames are the names in dtoverlay= lines, without their parameters.
func overlayNames(overlays []string) []string {
	names := make([]string, 0, len(overlays))
	for _, o := range overlays {
		name, _, _ := strings.Cut(o, ",")
		names = append(names, name)
	}
	return names
}

// copyOverlays copies the map, the overlays that the boards will ask for and those that
// are shipped besides, to overlays/.
func copyOverlays(ctx context.Context, job *pipeline.Job, p params) error {
	dir, err := overlayDir(ctx, job, p)
	if errors.Is(err, fs.ErrNotExist) && len(p.Overlays)+len(p.Ship) == 0 {
		return nil // a kernel without overlays, and nobody wants one
	}
	if err != nil {
		return job.At("dtb.overlays_from", err)
	}
	resolve, err := resolver(dir)
	if err != nil {
		return job.At("dtb.overlays_from", err)
	}
	wanted := map[string]string{} // file to the key that asks for it
	for n, name := range p.Overlays {
		for _, b := range p.Boards {
			file, err := resolve(name, b.Platform)
			if err == nil {
				err = exists(dir, file+".dtbo")
			}
			if err != nil {
				return job.At(fmt.Sprintf("dtb.overlays[%d]", n), fmt.Errorf("overlay %s for %s: %w", name, b.Name, err))
			}
			wanted[file+".dtbo"] = fmt.Sprintf("dtb.overlays[%d]", n)
		}
	}
	for n, pattern := range p.Ship {
		names, err := fs.Glob(dir, pattern)
		if err == nil && len(names) == 0 {
			err = fs.ErrNotExist
		}
		if err != nil {
			return job.At(fmt.Sprintf("dtb.ship[%d]", n), fmt.Errorf("%s: %w", pattern, err))
		}
		for _, name := range names {
			if wanted[name] == "" {
				wanted[name] = fmt.Sprintf("dtb.ship[%d]", n)
			}
		}
	}
	if exists(dir, mapName) == nil {
		wanted[mapName] = "dtb.overlays_from"
	}
	for name, key := range wanted {
		if err := job.Copy(ctx, dir, name, "overlays/"+name); err != nil {
			return err
		}
		job.From("overlays/"+name, key, p.OverlaysFrom.String()+"/"+name)
	}
	return nil
}

// overlayDir is the folder of the overlays.
func overlayDir(ctx context.Context, job *pipeline.Job, p params) (fs.FS, error) {
	fsys, names, err := job.Glob(ctx, p.OverlaysFrom)
	if err != nil {
		return nil, err
	}
	return fs.Sub(fsys, path.Clean(names[0]))
}

// resolver finds the file of an overlay on a platform: by the map, or as it is called
// where there is no map.
func resolver(dir fs.FS) (func(name, platform string) (string, error), error) {
	doc, err := fs.ReadFile(dir, mapName)
	if errors.Is(err, fs.ErrNotExist) {
		return func(name, _ string) (string, error) { return name, nil }, nil
	}
	if err != nil {
		return nil, err
	}
	m, err := overlaymap.Parse(doc)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", mapName, err)
	}
	return m.Resolve, nil
}

func exists(fsys fs.FS, name string) error {
	_, err := fs.Stat(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no %s: %w", name, fs.ErrNotExist)
	}
	return err
}
