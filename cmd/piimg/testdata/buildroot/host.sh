#!/bin/sh
# host.sh DIR: lays out what a build of Buildroot takes minutes with, instead of hours.
#
# DIR/toolchain is a copy of Debian's cross compiler for arm64 that can be moved: Buildroot
# refuses every distribution's own, for its --with-sysroot=/. DIR/ext is an external tree
# whose local.mk replaces four programs that Buildroot would compile for the host first by
# those of this machine.
set -e
dir=$1
t=$dir/toolchain
from=/usr/lib/gcc-cross/aarch64-linux-gnu
version=$(ls "$from" | sort -n | tail -1)
mkdir -p "$t/bin" "$t/aarch64-linux-gnu/bin" "$t/lib/gcc-cross/aarch64-linux-gnu" "$t/sysroot/usr"
cp -a "$from/$version" "$t/lib/gcc-cross/aarch64-linux-gnu/"
find "$t/lib/gcc-cross" -type l | while read -r link; do
	target=$(readlink -f "/usr${link#"$t"}")
	if [ -e "$target" ]; then cp --remove-destination "$target" "$link"; else rm -f "$link"; fi
done
cp -a /usr/aarch64-linux-gnu/include "$t/sysroot/usr/include"
cp -a /usr/aarch64-linux-gnu/lib "$t/sysroot/usr/lib"
ln -s usr/lib "$t/sysroot/lib"
sed -i 's#/usr/aarch64-linux-gnu/lib/#/usr/lib/#g' "$t/sysroot/usr/lib/libc.so"
if grep -q GROUP "$t/sysroot/usr/lib/libm.so"; then sed -i 's#/usr/aarch64-linux-gnu/lib/#/usr/lib/#g' "$t/sysroot/usr/lib/libm.so"; fi
for p in gcc g++ cpp; do
	cp -L "/usr/bin/aarch64-linux-gnu-$p" "$t/bin/aarch64-linux-gnu-$p.real"
	cat >"$t/bin/aarch64-linux-gnu-$p" <<EOF
#!/bin/sh
here=\$(dirname "\$(readlink -f "\$0")")
if [ "\$*" = -v ]; then
	"\$here/aarch64-linux-gnu-$p.real" -v 2>&1 | sed 's#--with-sysroot=/ #--with-sysroot=/sysroot #' >&2
	exit
fi
exec "\$here/aarch64-linux-gnu-$p.real" --sysroot="\$here/../sysroot" "\$@"
EOF
	chmod +x "$t/bin/aarch64-linux-gnu-$p"
done
for p in as ld ld.bfd ar nm ranlib strip objcopy objdump readelf strings addr2line gcc-ar gcc-nm gcc-ranlib; do
	cp -L "/usr/bin/aarch64-linux-gnu-$p" "$t/bin/aarch64-linux-gnu-$p"
	case $p in as | ld | ld.bfd | ar | nm | ranlib | strip | objcopy | objdump) ln -s "../../bin/aarch64-linux-gnu-$p" "$t/aarch64-linux-gnu/bin/$p" ;; esac
done

ext=$dir/ext
mkdir -p "$ext"
printf 'name: HOSTTOOLS\ndesc: programs of this machine\n' >"$ext/external.desc"
: >"$ext/Config.in"
: >"$ext/external.mk"
cat >"$ext/local.mk" <<'EOF'
override FAKEROOT_AUTORECONF = NO
override HOST_FAKEROOT_DEPENDENCIES =
EOF
for h in fakeroot tar cpio patchelf; do
	mkdir -p "$ext/shim/$h"
	printf 'HOST_%s_OVERRIDE_SRCDIR = $(BR2_EXTERNAL_HOSTTOOLS_PATH)/shim/%s\n' "$(echo $h | tr a-z A-Z)" $h >>"$ext/local.mk"
	cat >"$ext/shim/$h/configure" <<'EOF'
#!/bin/sh
for a; do case $a in --prefix=*) echo "PREFIX = ${a#--prefix=}" >config.mk ;; esac; done
EOF
	printf 'include config.mk\nall:\ninstall:\n\tmkdir -p $(PREFIX)/bin\n\tcp run $(PREFIX)/bin/%s\n' $h >"$ext/shim/$h/Makefile"
	printf '#!/bin/sh\nexec %s "$@"\n' "$(command -v $h)" >"$ext/shim/$h/run"
	chmod +x "$ext/shim/$h/run" "$ext/shim/$h/configure"
done
# Buildroot's own patchelf knows one option more; nothing here has a path to be made relative.
sed -i '2i case " $* " in *" --make-rpath-relative "*) exit 0 ;; esac' "$ext/shim/patchelf/run"
