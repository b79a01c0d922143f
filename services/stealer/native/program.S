/* The bytes of redirect.bpf.o, to be loaded from memory. */
	.section .rodata
	.global mirrord_redirect_object, mirrord_redirect_object_end
	.hidden mirrord_redirect_object, mirrord_redirect_object_end
	.balign 16
mirrord_redirect_object:
	.incbin "build/redirect.bpf.o"
mirrord_redirect_object_end:
	.section .note.GNU-stack, "", %progbits
