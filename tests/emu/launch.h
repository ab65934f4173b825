/*
 * cudaLaunchKernel() and cudaFuncSetAttribute(): the kernel's type tells what its arguments are. They are copied at
 * the launch, and a pointer among them must be something that a GPU can reach.
 */
#ifndef EMU_LAUNCH_H
#define EMU_LAUNCH_H

#include <memory>
#include <tuple>
#include <type_traits>
#include <utility>

struct emu_call {
	void (*kernel)(void);
	void (*call)(const struct emu_call *); /* one thread */
	std::shared_ptr<const void> args;      /* a tuple */
	size_t args_size;
	dim3 grid, block;
	size_t shared;
};

cudaError_t emu_launch(const struct emu_call *launch, cudaStream_t stream);
cudaError_t emu_attribute(void (*kernel)(void), enum cudaFuncAttribute attribute, int value);
/* Ends the process if argument i, a pointer, is neither NULL nor memory of the device nor pinned. */
void emu_check_argument(const struct emu_call *launch, int i, const void *p);

template <typename... P> struct emu_kernel {
	using args = std::tuple<std::remove_cv_t<P>...>;

	template <size_t... I>
	static args
	copy(void **from, std::index_sequence<I...>)
	{
		(void)from;
		return args(*(const std::remove_cv_t<P> *)from[I]...);
	}

	static void
	call(const struct emu_call *launch)
	{
		std::apply((void (*)(P...))launch->kernel, *(const args *)launch->args.get());
	}

	template <typename T>
	static void
	check(const struct emu_call *launch, int i, const T &value)
	{
		if constexpr (std::is_pointer_v<T> && !std::is_function_v<std::remove_pointer_t<T>>)
			emu_check_argument(launch, i, (const void *)value);
	}
};

template <typename... P>
inline cudaError_t
cudaLaunchKernel(void (*kernel)(P...), dim3 grid, dim3 block, void **args, size_t shared = 0, cudaStream_t stream = 0)
{
	using K = emu_kernel<P...>;
	const auto copy = std::make_shared<const typename K::args>(K::copy(args, std::index_sequence_for<P...>()));
	const struct emu_call launch = { (void (*)(void))kernel, K::call, copy, sizeof *copy, grid, block, shared };
	int i = 0;

	std::apply([&](const auto &...value) { (K::check(&launch, i++, value), ...); }, *copy);
	return emu_launch(&launch, stream);
}

template <typename... P>
inline cudaError_t
cudaFuncSetAttribute(void (*kernel)(P...), enum cudaFuncAttribute attribute, int value)
{
	return emu_attribute((void (*)(void))kernel, attribute, value);
}

#endif
