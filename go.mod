module piimg

go 1.26.0
